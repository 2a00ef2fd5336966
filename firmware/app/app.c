/* SPDX-License-Identifier: Apache-2.0 */
#include "app.h"

#include <string.h>

#include "board.h"
#include "esnn.h"
#include "evolve.h"
#include "packet.h"
#include "potentials.h"
#include "protocol.h"
#include "store.h"

#define STATUS_BYTES 12u
#define INFO_BYTES 24u
#define RESULT_BYTES 32u
#define MODELS_BYTES 4u
#define STAMP_BYTES 4u
#define IMAGE_CRC 12u /* where an image has its CRC */
#define SLOTS 4u
#define NO_SLOT 255u
#define SAMPLES_BYTES 16u
#define PROGRESS_WORDS 12u /* winners not counted */

/* An evolution, behind the images in the memory for models: itself, its recipe and state as they
 * are sent, and an arena of its own, so that a selected model can run on in between. */
typedef struct {
    evolution *run; /* NULL: there is none */
    uint8_t *recipe;
    uint8_t *arena;
    uint32_t recipe_bytes, state_bytes, arena_bytes;
    uint8_t slot, begun;
} evolving;
#define STORED_BYTES (24u + ESNN_KEY_BYTES)
#ifndef COUNT_FROM
#define COUNT_FROM 0u /* a test of what comes behind 2^32 counts from elsewhere */
#endif
#define TRIAL_SECONDS 60u /* within which a host confirms a new model, or the old one is back */

/* an image in the memory for models */
typedef struct {
    uint32_t at, bytes;
} slot;

typedef struct {
    uint32_t taken, copies, gaps, refused, steps, longest_step;
} counters;

typedef struct {
    const esnn_app_memory *memory;
    uint8_t *packet;   /* 1 byte into its memory, so that the payload starts at a multiple of 4 */
    uint32_t capacity; /* of packet */
    esnn_decoder decoder;
    esnn_model model;
    slot slots[SLOTS]; /* filled from the first on, each image behind the one before */
    slot coming;       /* the image that is being received */
    uint32_t received; /* bytes of it that are here */
    uint32_t token;    /* of the host that is being served */
    uint32_t steps;    /* of the model since its reset */
    counters counted;
    evolving evolves;
    esnn_store store;
    uint16_t input_size;
    uint16_t n_populations;
    uint16_t n_scores;
    uint16_t population; /* that is subscribed to */
    uint16_t sequence;   /* of the last packet that was taken */
    uint8_t subscribed;  /* to what */
    uint8_t n_slots;
    uint8_t coming_slot;
    uint8_t selected; /* slot of the model that is loaded, or NO_SLOT */
    uint8_t greeted;  /* a host has said HELLO: its numbers count from there */
    uint8_t leaving;  /* the board is to start anew */
} app;

static void put16(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *at, uint32_t value) {
    put16(at, value);
    put16(at + 2, value >> 16);
}

static uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] | at[1] << 8); }

static uint32_t get32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* the longest payload that fits the packet buffer, and whose packet, stuffed, fits the window */
static uint32_t payload_limit(const app *a) {
    const uint32_t window = (uint32_t)board_window();
    const uint32_t stuffed = window - window / 254u - 2u;
    const uint32_t limit = a->capacity < stuffed ? a->capacity : stuffed;
    const uint32_t payload = limit - ESNN_PACKET_HEAD - ESNN_PACKET_TAIL;
    return payload < UINT16_MAX ? payload : UINT16_MAX; /* INFO tells it in 16 bits */
}

static void to_board(void *context, const uint8_t *data, size_t size) {
    (void)context;
    board_write(data, size);
}

/* every packet is answered by one with its sequence number, written over it */
static void answer(const app *a, uint8_t type, size_t payload) {
    uint8_t *packet = a->packet;
    packet[0] = type;
    esnn_encode(packet, esnn_seal(packet, ESNN_PACKET_HEAD + payload), to_board, NULL);
}

static void answer_status(app *a, int status, uint32_t needed, uint32_t there) {
    uint8_t *packet = a->packet;
    a->counted.refused += status != ESNN_OK;
    uint8_t *payload = packet + ESNN_PACKET_HEAD;
    payload[0] = packet[0];
    payload[1] = (uint8_t)status;
    put16(payload + 2, 0);
    put32(payload + 4, needed);
    put32(payload + 8, there);
    answer(a, ESNN_STATUS, STATUS_BYTES);
}

/* without a store there is no key that anything could be signed with */
static int takes_unsigned(const app *a) {
    return a->memory->store == NULL || a->memory->store->development;
}

static void on_hello(app *a, size_t size) {
    uint8_t *payload = a->packet + ESNN_PACKET_HEAD;
    const char *text = board_name();
    const size_t name = strlen(text);
    const size_t version = sizeof ESNN_FIRMWARE_VERSION - 1u;
    uint8_t resumed = 0;
    if (size >= 8 && payload[0] == ESNN_PROTOCOL_VERSION) {
        const uint32_t token = get32(payload + 4);
        resumed = a->greeted && token == a->token;
        if (!resumed) {
            a->token = token;
            a->sequence = get16(a->packet + 1);
            a->subscribed = ESNN_NOTHING;
        }
        a->greeted = 1;
    }
    payload[0] = ESNN_PROTOCOL_VERSION;
    payload[1] =
        (uint8_t)((a->selected != NO_SLOT ? ESNN_MODEL_LOADED : 0) | (resumed ? ESNN_RESUMED : 0) |
                  (takes_unsigned(a) ? ESNN_DEVELOPMENT : 0) |
                  (a->memory->store != NULL ? ESNN_HAS_STORE : 0));
    put16(payload + 2, payload_limit(a));
    put32(payload + 4, (uint32_t)board_window());
    put32(payload + 8, (uint32_t)a->memory->model_size);
    put32(payload + 12, (uint32_t)a->memory->arena_size);
    put16(payload + 16, a->sequence);
    payload[18] = SLOTS;
    payload[19] = 0;
    put32(payload + 20, a->steps);
    memcpy(payload + INFO_BYTES, text, name);
    payload[INFO_BYTES + name] = ' ';
    memcpy(payload + INFO_BYTES + name + 1, ESNN_FIRMWARE_VERSION, version);
    answer(a, ESNN_INFO, INFO_BYTES + name + 1 + version);
}

/* behind the images in the slots before it */
static uint32_t start_of(const app *a, uint8_t number) {
    if (number == 0) {
        return 0;
    }
    const slot *before = &a->slots[number - 1u];
    return (before->at + before->bytes + 3u) & ~3u;
}

static void on_begin(app *a, const uint8_t *payload, size_t size) {
    if (size != 5) {
        answer_status(a, ESNN_ERR_PACKET, 5, (uint32_t)size);
        return;
    }
    const uint32_t bytes = get32(payload);
    const uint8_t number = payload[4];
    a->coming.bytes = a->received = 0;
    if (!takes_unsigned(a)) {
        answer_status(a, ESNN_ERR_SIGNATURE, 0, 0);
        return;
    }
    if (number > a->n_slots || number >= SLOTS) {
        answer_status(a, ESNN_ERR_SLOT, number, a->n_slots);
        return;
    }
    const uint32_t at = start_of(a, number);
    const uint32_t size_left = (uint32_t)a->memory->model_size;
    const uint32_t room = at < size_left ? size_left - at : 0;
    if (bytes > room) {
        answer_status(a, ESNN_ERR_TOO_LARGE, bytes, room);
        return;
    }
    a->evolves.run = NULL; /* its memory may be needed */
    a->n_slots = number;   /* its image and those behind it are about to be overwritten */
    if (a->selected >= number) {
        a->selected = NO_SLOT;
    }
    a->coming = (slot){at, bytes};
    a->coming_slot = number;
    answer_status(a, ESNN_OK, bytes, room);
}

static void on_data(app *a, const uint8_t *payload, size_t size) {
    if (size < 4) {
        answer_status(a, ESNN_ERR_PACKET, 4, (uint32_t)size);
        return;
    }
    const uint32_t offset = get32(payload);
    const uint32_t bytes = (uint32_t)size - 4u;
    if (offset != a->received || bytes > a->coming.bytes - a->received) {
        answer_status(a, ESNN_ERR_ORDER, a->received, offset);
        return;
    }
    memcpy(a->memory->model + a->coming.at + offset, payload + 4, bytes);
    a->received += bytes;
    answer_status(a, ESNN_OK, a->coming.bytes, a->received);
}

/* Bind an image to the arena. What does not fit is refused before anything changes. */
static int load(app *a, const uint8_t *image, uint32_t bytes, uint32_t *needed, uint32_t *there) {
    const esnn_app_memory *memory = a->memory;
    esnn_info info;
    *needed = *there = 0;
    const int status = esnn_check(image, bytes, &info);
    if (status != ESNN_OK) {
        return status;
    }
    const uint32_t frame = STAMP_BYTES + 2u * info.input_size;
    const uint32_t result = RESULT_BYTES + 4u * info.n_scores;
    const uint32_t payload = frame > result ? frame : result;
    if (info.arena_bytes <= memory->arena_size && payload > payload_limit(a)) {
        *needed = payload;
        *there = payload_limit(a);
        return ESNN_ERR_TOO_LARGE;
    }
    *needed = info.arena_bytes;
    *there = (uint32_t)memory->arena_size;
    if (info.arena_bytes > memory->arena_size) {
        return ESNN_ERR_ARENA;
    }
    a->selected = NO_SLOT; /* the state of the model before is about to be overwritten */
    a->subscribed = ESNN_NOTHING;
    a->steps = 0;
    a->input_size = info.input_size;
    a->n_populations = info.n_populations;
    a->n_scores = info.n_scores;
    const int loaded = esnn_load(&a->model, image, bytes, memory->arena, memory->arena_size);
    if (COUNT_FROM != 0u) {
        a->model.step = COUNT_FROM;
    }
    return loaded;
}

static int load_slot(app *a, const slot *from, uint32_t *needed, uint32_t *there) {
    return load(a, a->memory->model + from->at, from->bytes, needed, there);
}

static int load_stored(app *a, uint32_t *needed, uint32_t *there) {
    const esnn_stored stored = esnn_store_running(&a->store);
    *needed = *there = 0;
    if (stored.bytes == 0) {
        return ESNN_ERR_NO_STORE;
    }
    const int status = load(a, stored.image, stored.bytes, needed, there);
    if (status == ESNN_OK) {
        a->selected = ESNN_STORED_SLOT;
    }
    return status;
}

static void on_end(app *a) {
    uint32_t needed;
    uint32_t there;
    if (a->received != a->coming.bytes || a->coming.bytes == 0) {
        answer_status(a, ESNN_ERR_ORDER, a->coming.bytes, a->received);
        return;
    }
    int status = load_slot(a, &a->coming, &needed, &there);
    if (status == ESNN_OK) {
        status = esnn_selftest(&a->model);
    }
    if (status == ESNN_OK) {
        a->selected = a->coming_slot;
        a->slots[a->selected] = a->coming;
        a->n_slots = (uint8_t)(a->selected + 1u);
    }
    answer_status(a, status, needed, there);
}

static void on_select(app *a, const uint8_t *payload, size_t size) {
    uint32_t needed;
    uint32_t there;
    if (size != 1) {
        answer_status(a, ESNN_ERR_PACKET, 1, (uint32_t)size);
        return;
    }
    const uint8_t number = payload[0];
    if (number == ESNN_STORED_SLOT && a->memory->store != NULL) {
        const int status = load_stored(a, &needed, &there);
        answer_status(a, status, needed, there);
        return;
    }
    if (number >= a->n_slots) {
        answer_status(a, ESNN_ERR_SLOT, number, a->n_slots);
        return;
    }
    const int status = load_slot(a, &a->slots[number], &needed, &there);
    if (status == ESNN_OK) {
        a->selected = number;
    }
    answer_status(a, status, needed, there);
}

static void on_list(const app *a) {
    uint8_t *at = a->packet + ESNN_PACKET_HEAD;
    put32(at, a->selected);
    at += MODELS_BYTES;
    for (uint8_t k = 0; k < a->n_slots; k++, at += 8) {
        put32(at, a->slots[k].bytes);
        put32(at + 4, get32(a->memory->model + a->slots[k].at + IMAGE_CRC));
    }
    answer(a, ESNN_MODELS, MODELS_BYTES + 8u * a->n_slots);
}

static void on_count(const app *a) {
    const counters *c = &a->counted;
    const uint32_t values[] = {board_micros(),  c->taken,       c->copies,
                               c->gaps,         c->refused,     c->steps,
                               c->longest_step, a->decoder.bad, board_overruns()};
    uint8_t *payload = a->packet + ESNN_PACKET_HEAD;
    for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
        put32(payload + 4 * k, values[k]);
    }
    answer(a, ESNN_COUNTERS, sizeof values);
}

/* the longest that a RESULT can get with a subscription */
static uint32_t result_bytes(const app *a, uint8_t what, uint16_t population) {
    const uint32_t each = what == ESNN_SPIKES ? 2 : what == ESNN_POTENTIALS ? 4 : 0;
    const uint32_t extra = each == 0 ? 0 : each * (uint32_t)esnn_size(&a->model, population);
    return RESULT_BYTES + 4u * a->n_scores + extra;
}

/* whether there is anything of that kind in a population */
static int gives(const app *a, uint8_t what, uint16_t population) {
    const int16_t *values;
    if (population == 0 || population >= a->n_populations) {
        return 0;
    }
    return what == ESNN_SPIKES ? esnn_values(&a->model, population, &values) == 0
                               : esnn_potentials(&a->model, population) != NULL;
}

static void on_subscribe(app *a, const uint8_t *payload, size_t size) {
    if (size != 4) {
        answer_status(a, ESNN_ERR_PACKET, 4, (uint32_t)size);
        return;
    }
    const uint8_t what = payload[0];
    const uint16_t population = get16(payload + 2);
    if (what > ESNN_POTENTIALS || (what != ESNN_NOTHING && !gives(a, what, population))) {
        answer_status(a, ESNN_ERR_POPULATION, population, a->n_populations);
        return;
    }
    const uint32_t needed = result_bytes(a, what, population);
    if (needed > payload_limit(a)) {
        answer_status(a, ESNN_ERR_TOO_LARGE, needed, payload_limit(a));
        return;
    }
    a->subscribed = what;
    a->population = population;
    answer_status(a, ESNN_OK, needed, payload_limit(a));
}

/* what is subscribed to, behind a RESULT; returns its bytes */
static size_t put_subscribed(const app *a, uint8_t *at) {
    if (a->subscribed == ESNN_SPIKES) {
        const uint16_t *events;
        const size_t n = esnn_events(&a->model, a->population, &events);
        for (size_t k = 0; k < n; k++) {
            put16(at + 2 * k, events[k]);
        }
        return 2 * n;
    }
    if (a->subscribed == ESNN_POTENTIALS) {
        const int32_t *potentials = esnn_potentials(&a->model, a->population);
        const size_t n = esnn_size(&a->model, a->population);
        for (size_t k = 0; k < n; k++) {
            put32(at + 4 * k, (uint32_t)potentials[k]);
        }
        return 4 * n;
    }
    return 0;
}

static void on_step(app *a, uint8_t *payload, size_t size) {
    esnn_result out;
    int status = ESNN_ERR_PACKET;
    const uint32_t start = board_micros();
    const uint8_t *values = payload + STAMP_BYTES;
    const size_t bytes = size - STAMP_BYTES;
    if (size < STAMP_BYTES) {
        status = ESNN_ERR_PACKET;
    } else if (a->packet[0] == ESNN_EVENTS) {
        if ((bytes & 1u) == 0) {
            status = esnn_step_events(&a->model, (const uint16_t *)(const void *)values, bytes / 2,
                                      &out);
        }
    } else if (bytes == 2u * a->input_size) {
        status = esnn_step(&a->model, (const int16_t *)(const void *)values, &out);
    }
    const uint32_t micros = board_micros() - start;
    if (status != ESNN_OK) {
        answer_status(a, status, STAMP_BYTES + 2u * a->input_size, (uint32_t)size);
        return;
    }
    const uint32_t stamp = get32(payload);
    a->steps = out.step;
    a->counted.steps++;
    if (micros > a->counted.longest_step) {
        a->counted.longest_step = micros;
    }
    put16(payload, out.label);
    put16(payload + 2, out.n_scores);
    put32(payload + 4, out.step);
    put32(payload + 8, out.spikes);
    put32(payload + 12, out.synops);
    put32(payload + 16, out.macs);
    put32(payload + 20, esnn_digest(&a->model, 0));
    put32(payload + 24, micros);
    put32(payload + 28, stamp);
    uint8_t *at = payload + RESULT_BYTES;
    for (uint16_t k = 0; k < out.n_scores; k++, at += 4) {
        put32(at, (uint32_t)out.scores[k]);
    }
    at += put_subscribed(a, at);
    answer(a, ESNN_RESULT, (size_t)(at - payload));
}

static void on_sense(app *a, uint8_t *payload, size_t size) {
    const esnn_sensor *sensor = board_sensor();
    if (size != 4) {
        answer_status(a, ESNN_ERR_PACKET, 4, (uint32_t)size);
        return;
    }
    if (sensor == NULL) {
        answer_status(a, ESNN_ERR_SENSOR, 0, 0);
        return;
    }
    const uint32_t each = STAMP_BYTES + 2u * sensor->channels;
    const uint32_t room = (payload_limit(a) - SAMPLES_BYTES) / each;
    uint32_t first = get32(payload);
    const uint32_t n = (uint32_t)esnn_sensor_get(sensor, &first, payload + SAMPLES_BYTES, room);
    put32(payload, first);
    put32(payload + 4, sensor->taken);
    put32(payload + 8, sensor->period);
    put16(payload + 12, sensor->channels);
    put16(payload + 14, n);
    answer(a, ESNN_SAMPLES, SAMPLES_BYTES + n * each);
}

/* room behind the images for an evolution of the model in a slot */
static void on_evolve_begin(app *a, const uint8_t *payload, size_t size) {
    evolving *e = &a->evolves;
    if (size != 9) {
        answer_status(a, ESNN_ERR_PACKET, 9, (uint32_t)size);
        return;
    }
    const uint8_t number = payload[8];
    esnn_info info;
    if (number >= a->n_slots) {
        answer_status(a, ESNN_ERR_SLOT, number, a->n_slots);
        return;
    }
    const slot *from = &a->slots[number];
    const int status = esnn_check(a->memory->model + from->at, from->bytes, &info);
    if (status != ESNN_OK) {
        answer_status(a, status, 0, 0);
        return;
    }
    const uint32_t room = (uint32_t)a->memory->model_size;
    const uint32_t recipe = get32(payload), state = get32(payload + 4);
    const uint32_t at = (start_of(a, a->n_slots) + 7u) & ~7u;
    const uint32_t own = (uint32_t)((sizeof(evolution) + 7u) & ~(size_t)7u);
    e->run = NULL;
    if (recipe > room || state > room || at + own + recipe + state + info.arena_bytes + 8u > room) {
        answer_status(a, ESNN_ERR_TOO_LARGE, at + own + recipe + state + info.arena_bytes + 8u,
                      room);
        return;
    }
    uint8_t *memory = a->memory->model + at;
    memory += (8u - ((uintptr_t)memory & 7u)) & 7u;
    e->run = (evolution *)(void *)memory;
    e->recipe = memory + own;
    e->recipe_bytes = (recipe + 3u) & ~3u;
    e->state_bytes = (state + 3u) & ~3u;
    e->arena = e->recipe + e->recipe_bytes + e->state_bytes;
    e->arena_bytes = info.arena_bytes;
    e->slot = number;
    e->begun = 0;
    memset(e->recipe, 0, e->recipe_bytes + e->state_bytes);
    if (a->selected == number) { /* its weights are about to change */
        a->selected = NO_SLOT;
    }
    answer_status(a, ESNN_OK, at + own + recipe + state + info.arena_bytes, room);
}

static void on_evolve_data(app *a, const uint8_t *payload, size_t size) {
    const evolving *e = &a->evolves;
    const uint32_t all = e->recipe_bytes + e->state_bytes;
    const uint32_t offset = size < 4 ? 0 : get32(payload);
    const uint32_t bytes = (uint32_t)size - 4u;
    if (size < 4) {
        answer_status(a, ESNN_ERR_PACKET, 4, (uint32_t)size);
    } else if (e->run == NULL || e->begun || offset > all || bytes > all - offset) {
        answer_status(a, ESNN_ERR_ORDER, all, offset);
    } else {
        memcpy(e->recipe + offset, payload + 4, bytes);
        answer_status(a, ESNN_OK, all, offset + bytes);
    }
}

static int begin_evolution(const app *a) {
    const evolving *e = &a->evolves;
    const slot *from = &a->slots[e->slot];
    uint8_t *image = a->memory->model + from->at;
    const evolve_recipe *recipe = (const evolve_recipe *)(void *)e->recipe;
    const uint32_t bytes = e->recipe_bytes < sizeof *recipe ? 0 : recipe->bytes;
    const uint32_t genes = bytes > e->recipe_bytes ? 0 : evolve_genes(recipe, bytes, image);
    if (genes == 0 || evolve_state_bytes(genes) > e->state_bytes) {
        return ESNN_ERR_RECIPE;
    }
    return evolve_begin(e->run, recipe, bytes, image, from->bytes,
                        (evolve_state *)(void *)(e->recipe + e->recipe_bytes), e->arena,
                        e->arena_bytes);
}

/* run on, unless the host has missed a generation */
static void on_evolve_run(app *a, uint8_t *payload, size_t size) {
    evolving *e = &a->evolves;
    if (size != 8 || e->run == NULL) {
        answer_status(a, e->run == NULL ? ESNN_ERR_ORDER : ESNN_ERR_PACKET, 8, (uint32_t)size);
        return;
    }
    if (!e->begun) {
        const int status = begin_evolution(a);
        if (status != ESNN_OK) {
            answer_status(a, status, 0, 0);
            return;
        }
        e->begun = 1;
    }
    const evolve_state *s = (const evolve_state *)(const void *)(e->recipe + e->recipe_bytes);
    uint32_t ran = 0;
    if (s->generation == get32(payload + 4)) {
        ran = evolve_run_for(e->run, get32(payload));
    }
    const uint32_t values[PROGRESS_WORDS] = {
        ran,     s->phase,      s->generation, s->validated,       s->evaluations, s->windows,
        s->loss, s->validation, s->best,       s->best_generation, s->test,        s->n_winners};
    for (uint32_t k = 0; k < PROGRESS_WORDS; k++) {
        put32(payload + 4u * k, values[k]);
    }
    for (uint32_t k = 0; k < s->n_winners; k++) {
        put32(payload + 4u * (PROGRESS_WORDS + k), s->winners[k]);
    }
    answer(a, ESNN_PROGRESS, 4u * (PROGRESS_WORDS + s->n_winners));
}

static void on_evolve_read(app *a, uint8_t *payload, size_t size) {
    const evolving *e = &a->evolves;
    if (size != 8 || e->run == NULL || !e->begun) {
        answer_status(a, size != 8 ? ESNN_ERR_PACKET : ESNN_ERR_ORDER, 8, (uint32_t)size);
        return;
    }
    const uint32_t offset = get32(payload), bytes = get32(payload + 4);
    if (offset > e->state_bytes || bytes > e->state_bytes - offset ||
        bytes > payload_limit(a) - 4u) {
        answer_status(a, ESNN_ERR_TOO_LARGE, bytes, payload_limit(a) - 4u);
        return;
    }
    memcpy(payload + 4, e->recipe + e->recipe_bytes + offset, bytes);
    answer(a, ESNN_PIECE, 4u + bytes);
}

static void on_evolution(app *a, uint8_t type, uint8_t *payload, size_t size) {
    if (type == ESNN_EVO_BEGIN) {
        on_evolve_begin(a, payload, size);
    } else if (type == ESNN_EVO_DATA) {
        on_evolve_data(a, payload, size);
    } else if (type == ESNN_EVO_RUN) {
        on_evolve_run(a, payload, size);
    } else {
        on_evolve_read(a, payload, size);
    }
}

static void on_model_packet(app *a, uint8_t type, uint8_t *payload, size_t size) {
    if (type != ESNN_RESET && type != ESNN_FRAME && type != ESNN_EVENTS && type != ESNN_SELFTEST &&
        type != ESNN_SUBSCRIBE) {
        answer_status(a, ESNN_ERR_PACKET, 0, 0);
    } else if (a->selected == NO_SLOT) {
        answer_status(a, ESNN_ERR_NO_MODEL, 0, 0);
    } else if (type == ESNN_RESET) {
        esnn_reset(&a->model);
        a->steps = 0;
        answer_status(a, ESNN_OK, 0, 0);
    } else if (type == ESNN_SELFTEST) {
        a->steps = 0;
        answer_status(a, esnn_selftest(&a->model), 0, 0);
    } else if (type == ESNN_SUBSCRIBE) {
        on_subscribe(a, payload, size);
    } else {
        on_step(a, payload, size);
    }
}

static void on_update_begin(app *a, const uint8_t *payload, size_t size) {
    if (size != ESNN_IMAGE_AT) {
        answer_status(a, ESNN_ERR_PACKET, ESNN_IMAGE_AT, (uint32_t)size);
        return;
    }
    const int status = esnn_store_begin(&a->store, payload, board_name());
    const uint32_t room = ESNN_IMAGE_AT + esnn_store_room(&a->memory->store->flash);
    answer_status(a, status, ESNN_IMAGE_AT + esnn_store_announced(payload), room);
}

static void on_update_data(app *a, const uint8_t *payload, size_t size) {
    if (size < 4) {
        answer_status(a, ESNN_ERR_PACKET, 4, (uint32_t)size);
        return;
    }
    const uint32_t offset = get32(payload);
    const int status = esnn_store_data(&a->store, offset, payload + 4, (uint32_t)size - 4u);
    answer_status(a, status, status == ESNN_ERR_ORDER ? a->store.received : a->store.bytes,
                  status == ESNN_ERR_ORDER ? offset : a->store.received);
}

static void on_update_prefix(app *a, const uint8_t *payload, size_t size) {
    if (size != 4) {
        answer_status(a, ESNN_ERR_PACKET, 4, (uint32_t)size);
        return;
    }
    const uint32_t bytes = get32(payload);
    answer_status(a, ESNN_OK, bytes, esnn_store_prefix(&a->store, bytes));
}

/* The golden run needs the arena, and so does the check of a signature where RAM is short: the
 * model that is in flash starts anew, and one from the host must be selected again. */
static void on_update_end(app *a) {
    uint32_t needed = 0;
    uint32_t there = 0;
    uint32_t unused[2];
    if (!esnn_store_all_here(&a->store)) {
        answer_status(a, ESNN_ERR_ORDER, a->store.bytes, a->store.received);
        return;
    }
    a->selected = NO_SLOT;
    int status = esnn_store_verify(&a->store, board_name());
    if (status == ESNN_OK) {
        const esnn_stored coming = esnn_store_coming(&a->store);
        status = load(a, coming.image, coming.bytes, &needed, &there);
    }
    if (status == ESNN_OK) {
        status = esnn_selftest(&a->model);
    }
    if (status == ESNN_OK) {
        status = esnn_store_commit(&a->store);
    }
    (void)load_stored(a, &unused[0], &unused[1]);
    answer_status(a, status, needed, there);
}

static void on_store(const app *a) {
    const esnn_store_config *config = a->memory->store;
    const esnn_stored stored = esnn_store_running(&a->store);
    const int on_trial = a->store.trial == ESNN_TRIAL_ON;
    uint8_t *payload = a->packet + ESNN_PACKET_HEAD;
    memset(payload, 0, STORED_BYTES);
    put32(payload, config->flash.page);
    put32(payload + 4, esnn_store_room(&config->flash));
    if (stored.bytes > 0) {
        put32(payload + 8, stored.version);
        put32(payload + 12, stored.bytes);
        put32(payload + 16, get32(stored.image + IMAGE_CRC));
    }
    payload[20] = (uint8_t)((stored.bytes > 0 ? ESNN_STORED_RUNS : 0) |
                            (on_trial ? ESNN_STORED_ON_TRIAL : 0) |
                            (a->store.trial == ESNN_TRIAL_NEXT ? ESNN_STORED_WAITS : 0));
    memcpy(payload + 24, config->key, ESNN_KEY_BYTES);
    answer(a, ESNN_STORED, STORED_BYTES);
}

static void on_confirm(app *a) {
    const esnn_store_config *config = a->memory->store;
    const int status = esnn_store_confirm(&a->store);
    if (status == ESNN_OK && config->watch != NULL) {
        config->watch(0);
    }
    answer_status(a, status, 0, 0);
}

static void on_store_packet(app *a, uint8_t type, const uint8_t *payload, size_t size) {
    if (a->memory->store == NULL) {
        answer_status(a, ESNN_ERR_NO_STORE, 0, 0);
    } else if (type == ESNN_UPDATE_BEGIN) {
        on_update_begin(a, payload, size);
    } else if (type == ESNN_UPDATE_PREFIX) {
        on_update_prefix(a, payload, size);
    } else if (type == ESNN_UPDATE_DATA) {
        on_update_data(a, payload, size);
    } else if (type == ESNN_UPDATE_END) {
        on_update_end(a);
    } else if (type == ESNN_STORE) {
        on_store(a);
    } else if (type == ESNN_CONFIRM) {
        on_confirm(a);
    } else {
        answer_status(a, ESNN_OK, 0, 0);
        a->leaving = 1;
    }
}

static void on_packet(app *a) {
    uint8_t *payload = a->packet + ESNN_PACKET_HEAD;
    const size_t size = a->decoder.length - ESNN_PACKET_HEAD;
    const uint8_t type = a->packet[0];
    const uint16_t sequence = get16(a->packet + 1);
    const uint16_t ahead = (uint16_t)(sequence - a->sequence);
    if (type >= ESNN_STATUS) {
        return; /* an answer: this link echoes */
    }
    if (type == ESNN_HELLO) {
        on_hello(a, size);
        return;
    }
    if (!a->greeted) {
        answer_status(a, ESNN_ERR_GREETING, ESNN_PROTOCOL_VERSION, 0);
        return;
    }
    if (ahead == 0 || ahead >= 0x8000u) {
        a->counted.copies++; /* the link made it: nothing is run twice, nor answered twice */
        return;
    }
    if (ahead > 1) {
        a->counted.gaps++; /* run without the one before, it would give other answers */
        answer_status(a, ESNN_ERR_GAP, (uint16_t)(a->sequence + 1u), sequence);
        return;
    }
    a->sequence = sequence;
    a->counted.taken++;
    if (type == ESNN_MODEL_BEGIN) {
        on_begin(a, payload, size);
    } else if (type == ESNN_MODEL_DATA) {
        on_data(a, payload, size);
    } else if (type == ESNN_MODEL_END) {
        on_end(a);
    } else if (type == ESNN_SELECT) {
        on_select(a, payload, size);
    } else if (type == ESNN_LIST) {
        on_list(a);
    } else if (type == ESNN_COUNT) {
        on_count(a);
    } else if (type >= ESNN_EVO_BEGIN && type <= ESNN_EVO_READ) {
        on_evolution(a, type, payload, size);
    } else if (type == ESNN_SENSE) {
        on_sense(a, payload, size);
    } else if (type >= ESNN_UPDATE_BEGIN && type <= ESNN_RESTART) {
        on_store_packet(a, type, payload, size);
    } else {
        on_model_packet(a, type, payload, size);
    }
}

/* A model on trial that fails its golden run, which it passed before it was written down, or that
 * never comes to its end, is not tried again: the next start runs the one before. */
static void start_stored(app *a) {
    const esnn_store_config *config = a->memory->store;
    uint32_t unused[2];
    esnn_store_start(&a->store, config);
    const int on_trial = a->store.trial == ESNN_TRIAL_ON;
    if (on_trial && config->watch != NULL) {
        config->watch(TRIAL_SECONDS);
    }
    int status = load_stored(a, &unused[0], &unused[1]);
    if (status == ESNN_OK && on_trial) {
        status = esnn_selftest(&a->model);
    }
    a->leaving = status != ESNN_OK && on_trial;
}

void esnn_app_run(const esnn_app_memory *memory) {
    uint8_t chunk[64];
    app a = {
        .memory = memory,
        .packet = memory->packet + 1,
        .capacity = (uint32_t)memory->packet_size - 1u,
        .selected = NO_SLOT,
        .counted = {COUNT_FROM, COUNT_FROM, COUNT_FROM, COUNT_FROM, COUNT_FROM, 0},
    };
    esnn_decoder_init(&a.decoder, a.packet, a.capacity);
    if (memory->store != NULL) {
        start_stored(&a);
    }
    while (!a.leaving) {
        const size_t n = board_read(chunk, sizeof chunk);
        if (n == 0) {
            return;
        }
        for (size_t k = 0; k < n && !a.leaving; k++) {
            if (esnn_decode(&a.decoder, chunk[k])) {
                on_packet(&a);
            }
        }
    }
    memory->store->restart();
}
