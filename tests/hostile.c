/* Shows the core damaged and hostile images, built with sanitizers; tests/test_hostile.py says what
 * must come out.
 *
 *   hostile run IMAGE               the image as it is
 *   hostile truncate IMAGE          every shorter length, and one byte more
 *   hostile shorten IMAGE           every shorter length, with length and CRC made right
 *   hostile change IMAGE            every other value of every byte
 *   hostile repair IMAGE            the same with the CRC made right, and the arena's size too
 *   hostile scramble IMAGE N        N images with several changes, everything made right
 *   hostile garbage IMAGE N         N images of noise with a sound header, none of it from IMAGE
 *   hostile arena IMAGE N           load into an arena of N bytes; also prints the bytes needed
 *   hostile refusals IMAGE          calls with wrong arguments and events, which must run nothing
 *
 * Prints a line a verdict: its name, and how many images met it. "ran": in bounds, to the end.
 * Every buffer is a heap block of exactly the size that the core is told, and what the core puts
 * out is checked as well: a wrong answer aborts as a wrong access does.
 * SPDX-License-Identifier: Apache-2.0 */
#include <sanitizer/common_interface_defs.h>
#ifdef UNWRITTEN /* under MemorySanitizer, which then tells of every byte used before it is \
                    written */
#include <sanitizer/msan_interface.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "esnn_internal.h"
#include "right.h"

#ifdef FUZZ
#define LARGE_ARENA (1u << 14) /* a large one takes the time of many small ones */
#else
#define LARGE_ARENA (4u << 20)
#endif
#define REQUIRE(condition) require((condition) != 0, #condition, __LINE__)

/* by -esnn_status */
static const char *const names[] = {
    "ran",    "argument", "align", "magic", "version",  "length",    "crc",
    "format", "bound",    "arena", "input", "selftest", "operation",
};
#define STATUSES ((int)(sizeof names / sizeof *names))

static unsigned long verdicts[sizeof names / sizeof *names];
static const char *mode;
static size_t doing_at;
static unsigned doing_value;

static void say_what(void) {
    fprintf(stderr, "hostile: in %s, at %zu, value %u\n", mode, doing_at, doing_value);
}

static void require(int holds, const char *condition, int line) {
    if (!holds) {
        fprintf(stderr, "hostile.c:%d: not so: %s\n", line, condition);
        say_what();
        abort();
    }
}

static void doing(size_t at, unsigned value) {
    doing_at = at;
    doing_value = value;
}

static void *allocate(size_t size) {
    void *data = malloc(size);
    REQUIRE(data != NULL);
    return data;
}

static void *copy_of(const void *data, size_t size) {
    void *copy = allocate(size);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

/* a heap block of exactly that size, kept from call to call as long as the size stays */
typedef struct {
    void *data;
    size_t size;
} block;

static void *exactly(block *b, size_t size) {
    if (b->data == NULL || b->size != size) {
        free(b->data);
        b->data = allocate(size);
        b->size = size;
    }
    return b->data;
}

static uint32_t noise_state = 1;

static uint32_t noise(void) {
    noise_state ^= noise_state << 13;
    noise_state ^= noise_state >> 17;
    noise_state ^= noise_state << 5;
    return noise_state;
}

static uint32_t below(uint32_t n) { return noise() % n; }

/* ---- what an image needs to be let in ---- */

/* RAM of one population or the input, bytes; written without a look at how the core does it */
static uint64_t bytes_of(const esnn_population *p) {
    const uint64_t size = p->size, bit_row = (size + 31u) / 32u * 4u;
    const uint64_t half_row = (2u * size + 3u) / 4u * 4u;
    uint64_t states = p->kind > ESNN_SPIKE_INPUT ? 1 : 0;
    if (p->kind == ESNN_NEURON) {
        states += p->as.neurons.synaptic_decay != 0;
        states += p->as.neurons.inhibitory_decay != 0;
        states += (p->flags & ESNN_ADAPTS) != 0 ? 2 : 0;
    }
    uint64_t total =
        p->kind == ESNN_DELAY_LINE ? bit_row * (p->as.delay.longest + 1u) : 4u * states * size;
    total += p->kind == ESNN_ANALOG_INPUT ? 0 : half_row;
    return total + p->history * (p->bits != 0 ? half_row : bit_row);
}

/* 1: the header's arena size was wrong for its populations and now is right */
static int make_arena_right(uint8_t *image, size_t size) {
    esnn_header h;
    esnn_population p;
    esnn_projection q;
    uint64_t widest = 0, scores = 0, raises = 0, list = 0;
    memcpy(&h, image, sizeof h);
    uint64_t total = (uint64_t)h.n_populations * 24u;
    for (size_t k = 0; k < h.n_populations; k++) {
        const uint64_t at = h.populations + (uint64_t)k * sizeof p;
        if (at + sizeof p > size) {
            return 0;
        }
        memcpy(&p, image + at, sizeof p);
        widest = k > 0 && p.size > widest ? p.size : widest;
        scores = k == h.readout_population ? p.size : scores;
        total += bytes_of(&p);
        const uint64_t first = h.projections + (uint64_t)p.first_projection * sizeof q;
        if (p.kind == ESNN_LIF_BLOCKS && first + sizeof q <= size) {
            memcpy(&q, image + first, sizeof q);
            total += (q.as.dense.blocks + 3u) / 4u * 4u;
        }
    }
    for (size_t k = 0; k < h.n_projections; k++) {
        const uint64_t at = h.projections + (uint64_t)k * sizeof q;
        if (at + sizeof q > size) {
            return 0;
        }
        memcpy(&q, image + at, sizeof q);
        raises |= q.port == ESNN_PORT_THRESHOLD;
        if (q.kind <= ESNN_DENSE2 && q.as.dense.n_sources > 0 && q.as.dense.n_in > list) {
            list = q.as.dense.n_in;
        }
    }
    list = list < 256u ? list : 256u;
    total += 4u * widest * (1u + raises) + (2u * list + 3u) / 4u * 4u + 4u * scores;
    const uint32_t arena = (uint32_t)total;
    memcpy(image + offsetof(esnn_header, arena_bytes), &arena, sizeof arena);
    return arena != h.arena_bytes;
}

/* ---- running ---- */

static const int16_t frames[][2] = {
    {INT16_MIN, INT16_MIN}, {INT16_MIN, INT16_MIN}, {INT16_MIN, INT16_MIN},
    {INT16_MAX, INT16_MAX}, {INT16_MAX, INT16_MAX}, {INT16_MAX, INT16_MAX},
    {INT16_MIN, INT16_MAX}, {INT16_MAX, 0},         {0, 0},
};
#define STEPS (sizeof frames / sizeof *frames)

static void step(esnn_model *m, const esnn_info *info, size_t t, int by_events, esnn_result *out) {
    static block frame_block, event_block;
    const size_t size = info->input_size;
    const uint8_t bits = esnn_populations_of(m->image)->bits;
    const int32_t limit = (int32_t)1 << (bits > 0 ? bits - 1 : 15);
    int16_t *frame = exactly(&frame_block, size * sizeof *frame);
    size_t n = 0;
    for (size_t k = 0; k < size; k++) {
        const int32_t value = frames[t][k & 1];
        frame[k] = (int16_t)(value < -limit ? -limit : value > limit - 1 ? limit - 1 : value);
        n += frame[k] != 0;
    }
    if (!by_events || info->analog_input) {
        REQUIRE(esnn_step(m, frame, out) == ESNN_OK);
        return;
    }
    uint16_t *events = exactly(&event_block, n * sizeof *events);
    n = 0;
    for (size_t k = 0; k < size; k++) {
        if (frame[k] != 0) {
            events[n++] = (uint16_t)k;
        }
    }
    REQUIRE(esnn_step_events(m, events, n, out) == ESNN_OK);
}

static void check_output(const esnn_model *m, const esnn_info *info, const esnn_result *out) {
    uint32_t spikes = 0;
    for (uint16_t k = 0; k < info->n_populations; k++) {
        const uint16_t *events;
        const int16_t *values;
        const size_t n = esnn_events(m, k, &events), size = esnn_values(m, k, &values);
        REQUIRE(n <= esnn_size(m, k) && (size == 0 || (size == esnn_size(m, k) && n == 0)));
        for (size_t j = 0; j < size; j++) {
            spikes += values[j] != 0;
        }
        for (size_t e = 0; e < n; e++) {
            REQUIRE(events[e] < esnn_size(m, k) && (e == 0 || events[e] > events[e - 1]));
        }
        spikes += k > 0 ? (uint32_t)n : 0u;
    }
    REQUIRE(out->spikes == spikes);
    REQUIRE(out->n_scores == info->n_scores && out->label < out->n_scores);
    for (uint16_t k = 0; k < out->n_scores; k++) {
        REQUIRE(out->scores[k] < out->scores[out->label] ||
                (out->scores[k] == out->scores[out->label] && k >= out->label));
    }
}

/* the digest of a run that starts in an arena full of `dirt` */
static uint32_t run_in(const esnn_info *info, const uint8_t *image, int dirt, int by_events) {
    static block arena_block;
    esnn_model m;
    esnn_result out;
    uint8_t *arena = exactly(&arena_block, info->arena_bytes);
    memset(arena, dirt, info->arena_bytes);
#ifdef UNWRITTEN
    __msan_allocated_memory(arena, info->arena_bytes);
#endif
    REQUIRE(esnn_load(&m, image, info->image_bytes, arena, info->arena_bytes) == ESNN_OK);
    uint32_t crc = 0, first = 0;
    for (size_t t = 0; t < STEPS; t++) {
        step(&m, info, t, by_events, &out);
        check_output(&m, info, &out);
        REQUIRE(out.step == t + 1);
        crc = esnn_digest(&m, crc);
        first = t == 0 ? crc : first;
    }
    const esnn_status selftest = esnn_selftest(&m);
    REQUIRE(selftest == ESNN_OK || selftest == ESNN_ERR_SELFTEST);
    step(&m, info, 0, by_events, &out);
    REQUIRE(esnn_digest(&m, 0) == first); /* the self-test has reset everything */
    return crc;
}

static esnn_status run(const uint8_t *image, size_t size) {
    esnn_info info;
    const esnn_status status = esnn_check(image, size, &info);
    if (status != ESNN_OK) {
        return status;
    }
    REQUIRE(info.image_bytes == size);
    if (info.arena_bytes > LARGE_ARENA) {
        uint32_t small[64];
        esnn_model m;
        REQUIRE(esnn_load(&m, image, size, small, sizeof small) == ESNN_ERR_ARENA);
        return ESNN_ERR_ARENA;
    }
    /* neither what the arena held before nor the form of the frames makes a difference */
    REQUIRE(run_in(&info, image, 0xa5, 0) == run_in(&info, image, 0x5a, 1));
    return ESNN_OK;
}

static void try_image(const uint8_t *image, size_t size) {
    const int verdict = -(int)run(image, size);
    REQUIRE(verdict >= 0 && verdict < STATUSES);
    verdicts[verdict]++;
}

/* ---- ways to be hostile ---- */

static void truncate_each(const uint8_t *image, size_t size, int right) {
    for (size_t n = right ? sizeof(esnn_header) : 0; n < size; n++) {
        uint8_t *part = copy_of(image, n);
        doing(n, 0);
        if (right) {
            make_right(part, n);
        }
        try_image(part, n);
        free(part);
    }
    if (!right) {
        uint8_t *longer = allocate(size + 1);
        memcpy(longer, image, size);
        longer[size] = 0;
        doing(size + 1, 0);
        try_image(longer, size + 1);
        free(longer);
    }
}

static void change_each(const uint8_t *image, size_t size, int repair) {
    const size_t arena_at = offsetof(esnn_header, arena_bytes);
    uint8_t *changed = copy_of(image, size);
    for (size_t at = 0; at < size; at++) {
        if (repair && at >= offsetof(esnn_header, length) && at < arena_at) {
            continue; /* length and CRC: made right, they are the image as it was */
        }
        for (unsigned delta = 1; delta < 256; delta++) {
            changed[at] = (uint8_t)(image[at] ^ delta);
            doing(at, changed[at]);
            if (repair) {
                make_right(changed, size);
            }
            try_image(changed, size);
            if (repair && (at < arena_at || at >= arena_at + 4) &&
                make_arena_right(changed, size)) {
                make_right(changed, size);
                try_image(changed, size);
                memcpy(changed + arena_at, image + arena_at, 4);
            }
        }
        changed[at] = image[at];
    }
    free(changed);
}

static uint32_t telling_number(size_t size) {
    static const uint32_t numbers[] = {
        0,          1,          2,          3,          4,          12,         32,
        64,         0x7f,       0x80,       0xff,       0x100,      0x7fff,     0x8000,
        0x8001,     0xffff,     0x10000,    0x1fffffff, 0x20000000, 0x3fffffff, 0x40000000,
        0x7fffffff, 0x80000000, 0xe0000000, 0xfffffffc, 0xffffffff,
    };
    const uint32_t pick = below(4);
    if (pick == 0) {
        return (uint32_t)size - 4u * below(8);
    }
    return pick == 1 ? 4u * below((uint32_t)size / 4u)
                     : numbers[below(sizeof numbers / sizeof *numbers)];
}

/* more often in the header and the records, which come first, than in the arrays */
static uint32_t somewhere(size_t size) {
    const uint32_t all = (uint32_t)size;
    return below(below(2) || all < 400 ? all : 400u);
}

static void scramble(const uint8_t *image, size_t size, unsigned long n) {
    uint8_t *changed = copy_of(image, size);
    for (unsigned long k = 0; k < n; k++) {
        doing(k, 0);
        memcpy(changed, image, size);
        for (uint32_t changes = 1 + below(6); changes > 0; changes--) {
            const uint32_t at = 16 + somewhere(size - 16), pick = below(4);
            const uint32_t number = telling_number(size);
            if (pick == 0) {
                changed[at] = (uint8_t)noise();
            } else if (pick == 1) {
                changed[at] = (uint8_t)(changed[at] + below(5) - 2u);
            } else if (pick == 2) {
                memcpy(changed + at / 2 * 2, &number, 2);
            } else {
                memcpy(changed + at / 4 * 4, &number, 4);
            }
        }
        if (below(4) != 0) {
            (void)make_arena_right(changed, size);
        }
        make_right(changed, size);
        try_image(changed, size);
    }
    free(changed);
}

/* where an array may lie, seldom where it cannot */
static uint32_t garbage_offset(size_t size) {
    const uint32_t least = (uint32_t)sizeof(esnn_header);
    return below(32) ? least + 4u * below(((uint32_t)size - least) / 4u - 4u)
                     : telling_number(size);
}

static uint32_t maybe_offset(size_t size) { return below(2) ? garbage_offset(size) : 0u; }

static esnn_population garbage_population(size_t size, uint16_t width) {
    const uint8_t kinds[] = {ESNN_LIF,        ESNN_NEURON,       ESNN_NEURON,
                             ESNN_INTEGRATOR, ESNN_LINEAR_STATE, ESNN_DELAY_LINE};
    esnn_population p = {.kind = kinds[below(sizeof kinds)], .size = width};
    p.history = (uint16_t)(below(4) == 0 ? below(4) : 0u);
    switch (p.kind) {
    case ESNN_LIF:
    case ESNN_NEURON:
        p.flags = below(4) == 0 ? ESNN_REACHES : 0;
        p.as.neurons = (esnn_neurons){
            .decay = garbage_offset(size),
            .above = garbage_offset(size),
            .bias = maybe_offset(size),
            .reset = (uint8_t)below(8),
            .max_spikes = 1,
            .state_bits = 31,
        };
        if (p.kind == ESNN_NEURON) {
            p.flags = (uint16_t)(below(4) == 0   ? below(1 << 11)
                                 : below(2) == 0 ? ESNN_ADAPTS | (below(2) ? ESNN_REACHES : 0)
                                                 : below(2) * ESNN_DECAY_PER_NEURON);
            p.as.neurons.synaptic_decay = maybe_offset(size);
            p.as.neurons.floor = maybe_offset(size);
            p.as.neurons.conduction = (uint8_t)(below(2) ? below(3) : ESNN_JUMPED);
            p.as.neurons.rule = (uint8_t)below(3);
            p.as.neurons.state_bits = (uint8_t)(below(4) ? 31u : 15u + below(18));
            if (below(4) == 0) {
                p.as.neurons.inhibitory_decay = garbage_offset(size);
                p.as.neurons.floor = 0;
            } else if (below(4) == 0) {
                p.as.neurons.membrane_bias = maybe_offset(size);
            } else if (below(4) == 0) {
                p.as.neurons.reset = ESNN_RESET_ZERO_AT_ONCE;
                p.as.neurons.reset_to = maybe_offset(size);
            }
            if (below(8) == 0) { /* several spikes a step */
                p.flags = ESNN_REACHES;
                p.as.neurons.reset = ESNN_RESET_SUBTRACT_AT_ONCE;
                p.as.neurons.max_spikes = (uint16_t)(2u + below(2));
                p.bits = 3;
            }
            if ((p.flags & ESNN_ADAPTS) != 0) {
                p.as.neurons.adaptation_decay = garbage_offset(size);
                p.as.neurons.adaptation_step = garbage_offset(size);
                p.as.neurons.refractory = maybe_offset(size);
            }
        }
        break;
    case ESNN_INTEGRATOR:
        p.bits = (uint8_t)(2 + below(16));
        p.flags = (uint16_t)(below(2) | below(2) << 11);
        p.as.integrator = (esnn_integrator){
            .decay = garbage_offset(size),
            .bias = maybe_offset(size),
            .shift = (uint8_t)below(32),
            .activation = (uint8_t)below(2),
        };
        if (below(2) == 0) {
            p.as.integrator.n_scales = (uint16_t)below(4);
            p.as.integrator.multiplier = garbage_offset(size);
            p.as.integrator.places = garbage_offset(size);
            p.as.integrator.high = (int16_t)below(256);
        }
        if (below(2) == 0) {
            p.as.integrator.threshold = garbage_offset(size);
            p.as.integrator.offset = garbage_offset(size);
        }
        break;
    case ESNN_LINEAR_STATE:
        p.bits = (uint8_t)(2 + below(16));
        p.as.linear = (esnn_linear_state){
            .matrix = garbage_offset(size),
            .matrix_shift = garbage_offset(size),
            .shift = garbage_offset(size),
            .order = width,
            .blocks = 1,
        };
        break;
    default:
        p.as.delay = (esnn_delay_line){
            .delays = garbage_offset(size),
            .source = 0,
            .longest = (uint16_t)below(258),
        };
    }
    return p;
}

static esnn_projection garbage_projection(size_t size, uint16_t width, uint16_t populations) {
    esnn_projection q = {
        .kind = (uint8_t)below(ESNN_PROJECTION_KINDS + 1),
        .shift = (uint8_t)(below(2) ? below(22) : 0u),
        .source = (uint16_t)below(populations),
        .target = 1,
        .port = (uint8_t)(below(8) == 0),
        .weights = garbage_offset(size),
    };
    if (q.kind <= ESNN_DENSE_VALUES) {
        const uint16_t bits[] = {8, 4, 2, 8};
        q.as.dense = (esnn_dense){.blocks = 1, .n_in = width, .n_out = width};
        q.as.dense.bits = bits[q.kind];
        if (q.kind < ESNN_DENSE_VALUES && below(4) == 0) {
            q.as.dense.sources = garbage_offset(size);
            q.as.dense.n_sources = (uint16_t)(1 + below(2));
            q.as.dense.n_in = (uint16_t)(width * q.as.dense.n_sources);
        }
    } else if (q.kind == ESNN_DELAYED) {
        q.as.delayed = (esnn_delayed){
            .n_in = width,
            .n_out = width,
            .longest = (uint16_t)below(4),
            .starts = garbage_offset(size),
            .ends = garbage_offset(size),
            .post = garbage_offset(size),
        };
    } else {
        q.as.window =
            (esnn_window){1, width, 1, 1, width, 1, 1, (uint8_t)(1 + below(3)), 1, 1, 0, 0, 1, {0}};
        q.weights = q.kind == ESNN_POOL ? 0u : q.weights;
    }
    return q;
}

/* records that are sound in what has few sound values, over arrays of noise or almost of zeros */
static void fill_with_garbage(uint8_t *image, size_t size) {
    const uint16_t width = (uint16_t)(1 + below(4));
    const int zeros = below(4) != 0;
    for (size_t k = 0; k < size; k++) {
        image[k] = zeros && below(64) != 0 ? 0u : (uint8_t)noise();
    }
    const uint8_t readout = (uint8_t)(below(2) ? ESNN_POTENTIAL : below(4));
    const esnn_header h = {
        .magic = {'E', 'S', 'N', 'N'},
        .version = ESNN_VERSION,
        .header_size = 64,
        .n_populations = (uint16_t)(2 + below(3)),
        .n_projections = (uint16_t)below(3),
        .populations = 64,
        .projections = 64 + 64 * 4,
        .readout_population = (uint16_t)(1 + below(3)),
        .readout = readout,
        .readout_mode = (uint8_t)(readout == ESNN_POTENTIAL ? below(4) : 0u),
        .selftest = garbage_offset(size),
        .selftest_steps = (uint16_t)(below(2) ? below(8) : 0u),
        .readout_table = readout == ESNN_SOFTMAX_SUM ? garbage_offset(size) : 0u,
    };
    if (below(8) == 0) {
        memcpy(image, &h, offsetof(esnn_header, length));
        return;
    }
    memcpy(image, &h, sizeof h);
    for (uint16_t k = 0; k < h.n_populations; k++) {
        esnn_population p = garbage_population(size, width);
        if (k == 0) {
            p = (esnn_population){.kind = ESNN_SPIKE_INPUT, .size = width, .history = p.history};
        } else {
            p.first_projection = k == 1 ? 0 : h.n_projections;
            p.n_projections = k == 1 ? h.n_projections : 0;
        }
        memcpy(image + h.populations + sizeof p * k, &p, sizeof p);
    }
    for (uint16_t k = 0; k < h.n_projections; k++) {
        const esnn_projection q = garbage_projection(size, width, h.n_populations);
        memcpy(image + h.projections + sizeof q * k, &q, sizeof q);
    }
}

static void garbage(unsigned long n) {
    for (unsigned long k = 0; k < n; k++) {
        const size_t size = 480u + below(512);
        uint8_t *image = allocate(size);
        doing(k, 0);
        fill_with_garbage(image, size);
        (void)make_arena_right(image, size);
        make_right(image, size);
        try_image(image, size);
        free(image);
    }
}

static void load_into(const uint8_t *image, size_t size, size_t arena_size) {
    esnn_info info;
    esnn_model m;
    REQUIRE(esnn_check(image, size, &info) == ESNN_OK);
    printf("needs: %u\n", (unsigned)info.arena_bytes);
    uint8_t *arena = allocate(arena_size);
    memset(arena, 0xa5, arena_size);
    const int verdict = -(int)esnn_load(&m, image, size, arena, arena_size);
    for (size_t k = 0; verdict != 0 && k < arena_size; k++) {
        REQUIRE(arena[k] == 0xa5);
    }
    verdicts[verdict]++;
    free(arena);
}

static void refused(const char *what, esnn_status status) {
    printf("%s: %s\n", what, names[-(int)status]);
}

static void refusals(const uint8_t *image, size_t size) {
    esnn_info info;
    esnn_model m;
    esnn_result out;
    uint8_t *shifted = (uint8_t *)allocate(size + 1) + 1;
    memcpy(shifted, image, size);
    printf("kernels: %s\n", esnn_kernel_name());
    refused("check no image", esnn_check(NULL, size, &info));
    refused("check an odd address", esnn_check(shifted, size, &info));
    REQUIRE(esnn_check(image, size, NULL) == ESNN_OK);
    REQUIRE(esnn_check(image, size, &info) == ESNN_OK);
    uint8_t *arena = (uint8_t *)allocate(info.arena_bytes + 2u);
    refused("load no image", esnn_load(&m, NULL, size, arena, info.arena_bytes));
    refused("load at an odd address", esnn_load(&m, shifted, size, arena, info.arena_bytes));
    refused("load into no model", esnn_load(NULL, image, size, arena, info.arena_bytes));
    refused("load into no arena", esnn_load(&m, image, size, NULL, info.arena_bytes));
    refused("load into an odd arena", esnn_load(&m, image, size, arena + 2, info.arena_bytes));
    REQUIRE(esnn_load(&m, image, size, arena, info.arena_bytes) == ESNN_OK);
    refused("self-test", esnn_selftest(&m)); /* which it passes */

    step(&m, &info, 0, 0, &out);
    step(&m, &info, 6, 0, &out);
    const uint32_t digest = esnn_digest(&m, 0);
    uint8_t *before = copy_of(arena, info.arena_bytes);
    const size_t n = info.input_size;
    int16_t *frame = allocate(n * sizeof *frame);
    uint16_t *events = allocate((n + 1) * sizeof *events);
    refused("self-test no model", esnn_selftest(NULL));
    refused("step no model", esnn_step(NULL, frame, &out));
    refused("step no frame", esnn_step(&m, NULL, &out));
    refused("step no result", esnn_step(&m, frame, NULL));
    refused("events no model", esnn_step_events(NULL, events, 0, &out));
    refused("events no list", esnn_step_events(&m, NULL, 1, &out));
    refused("events no result", esnn_step_events(&m, events, 0, NULL));
    for (size_t k = 0; k <= n; k++) {
        events[k] = (uint16_t)k;
    }
    refused("events too many", esnn_step_events(&m, events, n + 1, &out));
    refused("events far too many", esnn_step_events(&m, events, (size_t)-1, &out));
    refused("events out of range", esnn_step_events(&m, events + n, 1, &out));
    events[0] = 1;
    events[1] = 0;
    refused("events not ascending", esnn_step_events(&m, events, 2, &out));
    events[0] = 0;
    refused("events twice the same", esnn_step_events(&m, events, 2, &out));
    events[0] = UINT16_MAX;
    refused("events the largest number", esnn_step_events(&m, events, 1, &out));
    REQUIRE(memcmp(before, arena, info.arena_bytes) == 0 && esnn_digest(&m, 0) == digest);
    REQUIRE(m.step == 2);
    if (!info.analog_input) {
        REQUIRE(esnn_step_events(&m, NULL, 0, &out) == ESNN_OK && out.step == 3);
    }
    free(shifted - 1);
    free(arena);
    free(before);
    free(frame);
    free(events);
}

static uint8_t *read_whole(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    REQUIRE(file != NULL);
    REQUIRE(fseek(file, 0, SEEK_END) == 0);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = allocate(*size);
    REQUIRE(fread(data, 1, *size, file) == *size);
    REQUIRE(fclose(file) == 0);
    return data;
}

#ifdef FUZZ

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most); /* of the fuzzer */

static void say_how_many(void) { fprintf(stderr, "stepped: %lu\n", verdicts[0]); }

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    return atexit(say_how_many);
}

/* What the fuzzer itself does moves records and arrays, so that hardly any image is let in; three
 * times in four a few bytes change where they are. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    if (size < sizeof(esnn_header) || seed % 4u == 0) {
        return LLVMFuzzerMutate(data, size, most);
    }
    noise_state = seed | 1u;
    for (uint32_t changes = 1 + below(3); changes > 0; changes--) {
        const uint32_t at = 16u + below((uint32_t)size - 16u); /* magic, version, length, CRC */
        data[at] = (uint8_t)(below(2) ? noise() : data[at] + below(5) - 2u);
    }
    return size;
}

/* Load an image into an arena of exactly the size that its header says, and step it: what takes a
 * tenth of the time of all that `run` looks at. */
static void run_briefly(const uint8_t *image, size_t size) {
    static block arena_block;
    const uint32_t arena_bytes = esnn_header_of(image)->arena_bytes;
    const size_t arena_size = arena_bytes < LARGE_ARENA ? arena_bytes : LARGE_ARENA;
    uint8_t *arena = exactly(&arena_block, arena_size);
    esnn_model m;
    esnn_result out;
    memset(arena, 0xa5, arena_size);
    const esnn_status status = esnn_load(&m, image, size, arena, arena_size);
    verdicts[-(int)status]++;
    if (status != ESNN_OK) {
        return;
    }
    const esnn_population *input = esnn_populations_of(image);
    const esnn_info info = {
        .n_populations = esnn_header_of(image)->n_populations,
        .input_size = input->size,
        .n_scores = esnn_populations_of(image)[esnn_header_of(image)->readout_population].size,
        .analog_input = input->kind == ESNN_ANALOG_INPUT,
    };
    for (size_t t = 2; t < 6; t += 3) { /* the least, and the largest */
        step(&m, &info, t, t == 5, &out);
        check_output(&m, &info, &out);
    }
}

/* Any bytes as an image, with what is easily found out made right. An image in sixteen, by its CRC,
 * is looked at in full. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < sizeof(esnn_header)) {
        return 0;
    }
    uint8_t *image = copy_of(data, size);
    mode = "fuzz";
    (void)make_arena_right(image, size);
    make_right(image, size);
    if ((esnn_header_of(image)->crc & 15u) == 0) {
        try_image(image, size);
    } else {
        run_briefly(image, size);
    }
    free(image);
    return 0;
}

#else

int main(int argc, char **argv) {
    REQUIRE(argc == 3 || argc == 4);
    size_t size;
    uint8_t *image = read_whole(argv[2], &size);
    const unsigned long n = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    mode = argv[1];
    __sanitizer_set_death_callback(say_what);
    if (strcmp(mode, "run") == 0) {
        try_image(image, size);
    } else if (strcmp(mode, "truncate") == 0 || strcmp(mode, "shorten") == 0) {
        truncate_each(image, size, mode[0] == 's');
    } else if (strcmp(mode, "change") == 0 || strcmp(mode, "repair") == 0) {
        change_each(image, size, mode[0] == 'r');
    } else if (strcmp(mode, "scramble") == 0) {
        scramble(image, size, n);
    } else if (strcmp(mode, "garbage") == 0) {
        garbage(n);
    } else if (strcmp(mode, "arena") == 0) {
        load_into(image, size, n);
    } else {
        REQUIRE(strcmp(mode, "refusals") == 0);
        refusals(image, size);
    }
    free(image);
    for (int k = 0; k < STATUSES; k++) {
        if (verdicts[k] > 0) {
            printf("%s: %lu\n", names[k], verdicts[k]);
        }
    }
    return 0;
}

#endif
