/* Dense projections.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"

/* a kernel of its own for each width, for spikes whose sums cannot leave 30 bits */
typedef void kernel(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                    uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first);

ESNN_ONCE static esnn_status check(const esnn_header *h, const esnn_projection *q, uint32_t n_in) {
    const esnn_population *populations = esnn_populations_of((const uint8_t *)h);
    const esnn_dense *d = &q->as.dense;
    if ((d->bits != 8 && d->bits != 4 && d->bits != 2) || d->zero != 0 ||
        !esnn_all_zero(d->reserved, 5) || d->blocks == 0 || d->n_in == 0 || d->n_out == 0 ||
        (uint32_t)d->blocks * d->n_in != n_in ||
        (uint32_t)d->blocks * d->n_out != populations[q->target].size) {
        return ESNN_ERR_FORMAT;
    }
    const uint32_t words = ((uint32_t)d->n_out * d->bits + 31u) / 32u; /* at most 2^14 */
    return esnn_inside(h, q->weights, 4u * d->n_in * words) ? ESNN_OK : ESNN_ERR_FORMAT;
}

/* ---- one block from one source: one call of a kernel ---- */

static int is_single(const esnn_dense *d) { return d->n_sources == 0 && d->blocks == 1; }

ESNN_ONCE static esnn_status check_single(const esnn_header *h, const esnn_projection *q,
                                          uint16_t bits) {
    const esnn_dense *d = &q->as.dense;
    const esnn_population *source = &esnn_populations_of((const uint8_t *)h)[q->source];
    if (!is_single(d)) {
        return ESNN_ERR_OPERATION;
    }
    return d->bits == bits && d->sources == 0 && source->bits == 0 ? check(h, q, source->size)
                                                                   : ESNN_ERR_FORMAT;
}

ESNN_APART static uint32_t project_single(const esnn_model *m, const esnn_projection *q,
                                          int32_t *current, kernel *add) {
    const esnn_dense *d = &q->as.dense;
    const esnn_slot *source = &esnn_slots_of(m->arena)[q->source];
    const uint32_t n = source->n_events;
    add(current, (const int8_t *)(m->image + q->weights), d->n_in, d->n_out, q->shift,
        esnn_halves(m->arena, source->output), n, 0);
    return n * d->n_out;
}

ESNN_ONCE static esnn_status check_single8(const esnn_header *h, const esnn_projection *q) {
    return check_single(h, q, 8);
}

static uint32_t project_single8(const esnn_model *m, const esnn_projection *q, int32_t *current,
                                const int16_t *values) {
    (void)values;
    return project_single(m, q, current, esnn_dense_events);
}

const esnn_projection_operation esnn_op_dense8_single = {check_single8, project_single8};

ESNN_ONCE static esnn_status check_single4(const esnn_header *h, const esnn_projection *q) {
    return check_single(h, q, 4);
}

static uint32_t project_single4(const esnn_model *m, const esnn_projection *q, int32_t *current,
                                const int16_t *values) {
    (void)values;
    return project_single(m, q, current, esnn_dense4_events);
}

const esnn_projection_operation esnn_op_dense4_single = {check_single4, project_single4};

ESNN_ONCE static esnn_status check_single2(const esnn_header *h, const esnn_projection *q) {
    return check_single(h, q, 2);
}

static uint32_t project_single2(const esnn_model *m, const esnn_projection *q, int32_t *current,
                                const int16_t *values) {
    (void)values;
    return project_single(m, q, current, esnn_dense2_events);
}

const esnn_projection_operation esnn_op_dense2_single = {check_single2, project_single2};

/* ---- the same, and merged from several sources, or in blocks ---- */

/* neurons of all the sources of a projection, all of which emit spikes; 0: it is not sound */
ESNN_ONCE static uint32_t sources_size(const esnn_header *h, const esnn_projection *q) {
    const uint8_t *image = (const uint8_t *)h;
    const esnn_population *populations = esnn_populations_of(image);
    const esnn_dense *d = &q->as.dense;
    if (d->n_sources == 0) {
        const esnn_population *source = &populations[q->source];
        return d->sources == 0 && source->bits == 0 ? source->size : 0u;
    }
    if (d->blocks != 1 || !esnn_inside(h, d->sources, 2u * (uint32_t)d->n_sources) ||
        *esnn_u16(image, d->sources) != q->source) {
        return 0;
    }
    uint32_t size = 0;
    for (uint16_t k = 0; k < d->n_sources; k++) {
        const uint16_t source = esnn_u16(image, d->sources)[k];
        if (source >= h->n_populations || populations[source].bits != 0) {
            return 0;
        }
        size += populations[source].size;
    }
    return size;
}

ESNN_ONCE static esnn_status check_many(const esnn_header *h, const esnn_projection *q,
                                        uint16_t bits) {
    const uint32_t size = sources_size(h, q);
    return q->as.dense.bits == bits && size > 0 ? check(h, q, size) : ESNN_ERR_FORMAT;
}

/* n events, numbered from `first` on */
static inline void append(uint16_t *to, const uint16_t *event, size_t n, uint32_t first) {
    for (const uint16_t *end = event + n; event != end;) {
        *to++ = (uint16_t)(first + *event++);
    }
}

#if defined(__ARM_FEATURE_UNALIGNED)

typedef uint32_t __attribute__((may_alias, aligned(2))) pair; /* of events, anywhere */

/* the same two at a time: one more is read and written where n is odd */
static inline void append_pairs(uint16_t *to, const uint16_t *event, size_t n, uint32_t first) {
    const uint32_t both = first * 0x10001u;
    for (const uint16_t *end = event + n; event < end; event += 2, to += 2) {
        *(pair *)to = *(const pair *)event + both;
    }
}

#else
#define append_pairs append
#endif

/* how far the sources of a projection have been read */
typedef struct {
    size_t source, event;
    uint32_t first; /* the first neuron of the source */
} position;

/* Put together the events of all sources from a position on, as many as the list holds; returns
 * their number. In a frame of its own, which is gone when a kernel is called. */
ESNN_APART static size_t gather(const esnn_model *m, const esnn_dense *d, position *from) {
    const esnn_population *populations = esnn_populations_of(m->image);
    const esnn_slot *slots = esnn_slots_of(m->arena);
    const uint16_t *sources = esnn_u16(m->image, d->sources);
    uint16_t *list = esnn_halves(m->arena, m->list);
    const size_t room = d->n_in < ESNN_LIST_MOST ? d->n_in : ESNN_LIST_MOST;
    const uint16_t *source = sources + from->source, *last = sources + d->n_sources;
    size_t held = 0, skipped = from->event;
    uint32_t first = from->first;
    for (; source != last; source++, skipped = 0) {
        const esnn_slot *slot = &slots[*source];
        const uint16_t *event = esnn_halves(m->arena, slot->output) + skipped;
        const size_t n = slot->n_events - skipped;
        if (n >= room - held) {
            append(list + held, event, room - held, first);
            skipped += room - held;
            held = room;
            break;
        }
        append_pairs(list + held, event, n, first);
        held += n;
        first += populations[*source].size;
    }
    *from = (position){(size_t)(source - sources), skipped, first};
    return held;
}

/* the events of all sources in one list: what the fixed cost of a tile is paid for only once */
ESNN_APART static uint32_t project_sources(const esnn_model *m, const esnn_projection *q,
                                           int32_t *current, kernel *add) {
    const esnn_dense *d = &q->as.dense;
    position at = {0, 0, 0};
    size_t met = 0;
    do {
        const size_t n = gather(m, d, &at);
        if (n > 0) {
            add(current, (const int8_t *)(m->image + q->weights), d->n_in, d->n_out, q->shift,
                esnn_halves(m->arena, m->list), n, 0);
        }
        met += n;
    } while (at.source < d->n_sources);
    return (uint32_t)met * d->n_out;
}

/* many blocks, each a small projection of its own */
ESNN_RARE ESNN_APART static uint32_t project_blocks(const esnn_model *m, const esnn_projection *q,
                                                    int32_t *current, kernel *add) {
    const esnn_dense *d = &q->as.dense;
    const int8_t *weights = (const int8_t *)(m->image + q->weights);
    const esnn_slot *source = &esnn_slots_of(m->arena)[q->source];
    const uint16_t *events = esnn_halves(m->arena, source->output);
    const size_t n_events = source->n_events;
    size_t used = 0;
    for (uint32_t first = 0; used < n_events; first += d->n_in, current += d->n_out) {
        size_t n = 0;
        while (used + n < n_events && events[used + n] < first + d->n_in) {
            n++;
        }
        if (n > 0) {
            add(current, weights, d->n_in, d->n_out, q->shift, events + used, n, first);
            used += n;
        }
    }
    return (uint32_t)n_events * d->n_out;
}

/* blocks that the kernel for them takes */
ESNN_APART static uint32_t project_small_blocks(const esnn_model *m, const esnn_projection *q,
                                                int32_t *current) {
    const esnn_dense *d = &q->as.dense;
    const esnn_slot *slots = esnn_slots_of(m->arena), *source = &slots[q->source];
    const esnn_population *target = &esnn_populations_of(m->image)[q->target];
    uint8_t *met =
        target->kind == ESNN_LIF_BLOCKS ? esnn_met_of(m, target, &slots[q->target]) : NULL;
    esnn_blocks_events(current, (const int8_t *)(m->image + q->weights), d->n_in, d->n_out,
                       q->shift, esnn_halves(m->arena, source->output), source->n_events, met);
    return source->n_events * d->n_out;
}

/* whatever it is, but blocks that a kernel of their own takes */
static inline uint32_t project_any(const esnn_model *m, const esnn_projection *q, int32_t *current,
                                   kernel *add) {
    const esnn_dense *d = &q->as.dense;
    if (d->n_sources > 0) {
        return project_sources(m, q, current, add);
    }
    return d->blocks > 1 ? project_blocks(m, q, current, add) : project_single(m, q, current, add);
}

ESNN_ONCE static esnn_status check8(const esnn_header *h, const esnn_projection *q) {
    return check_many(h, q, 8);
}

static uint32_t project8(const esnn_model *m, const esnn_projection *q, int32_t *current,
                         const int16_t *values) {
    (void)values;
    return q->as.dense.blocks > 1 && q->as.dense.n_out <= ESNN_TILE
               ? project_small_blocks(m, q, current)
               : project_any(m, q, current, esnn_dense_events);
}

ESNN_ONCE static esnn_status check4(const esnn_header *h, const esnn_projection *q) {
    return check_many(h, q, 4);
}

static uint32_t project4(const esnn_model *m, const esnn_projection *q, int32_t *current,
                         const int16_t *values) {
    (void)values;
    return project_any(m, q, current, esnn_dense4_events);
}

ESNN_ONCE static esnn_status check2(const esnn_header *h, const esnn_projection *q) {
    return check_many(h, q, 2);
}

static uint32_t project2(const esnn_model *m, const esnn_projection *q, int32_t *current,
                         const int16_t *values) {
    (void)values;
    return project_any(m, q, current, esnn_dense2_events);
}

const esnn_projection_operation esnn_op_dense8 = {check8, project8};
const esnn_projection_operation esnn_op_dense4 = {check4, project4};
const esnn_projection_operation esnn_op_dense2 = {check2, project2};

/* ---- weights of any width, values or spikes, with saturation where it may be needed ---- */

static int32_t saturated(int64_t x) {
    const int64_t limit = ESNN_CURRENT_LIMIT;
    return (int32_t)(x < -limit ? -limit : x > limit - 1 ? limit - 1 : x);
}

/* The weights of target neuron o: the code of source neuron j is in byte j * stride, from bit
 * `shift` on. */
typedef struct {
    const uint8_t *codes;
    size_t stride;
    uint32_t shift;
} column;

ESNN_RARE static column column_of(const uint8_t *weights, const esnn_dense *d, size_t o) {
    const size_t per_word = 32u / d->bits, k = o % (4u * per_word), tile = (o - k) / per_word;
    const size_t rest = (d->n_out + per_word - 1u) / per_word - tile;
    const size_t words = rest < 4u ? rest : 4u;
    column c = {weights + 4u * tile * d->n_in, 4u * words, 0};
    if (d->bits == 8) {
        c.codes += k;
    } else if (d->bits == 4) {
        const size_t half = k / (4u * words), in_half = k % (4u * words);
        c.codes += in_half / 4u * 4u + 2u * half + (in_half & 2u) / 2u;
        c.shift = 4u * (k & 1u);
    } else {
        c.codes += k / 16u * 4u + (k & 3u);
        c.shift = 2u * (k / 4u % 4u);
    }
    return c;
}

/* One block, whose source neurons start at number `first`, with sums exact in 64 bits: of the n
 * spikes that are listed, or of all values. */
ESNN_RARE static void project_wide(const esnn_projection *q, const uint8_t *weights,
                                   const int16_t *values, const uint16_t *events, size_t n,
                                   uint32_t first, int32_t *current) {
    const esnn_dense *d = &q->as.dense;
    const int32_t half = (int32_t)1 << (d->bits - 1u);
    const uint32_t offset = d->bits == 8 ? 128u : 0u, mask = (1u << d->bits) - 1u;
    for (size_t o = 0; o < d->n_out; o++) {
        const column c = column_of(weights, d, o);
        int64_t sum = 0;
        for (size_t e = 0; e < n; e++) {
            const size_t j = values != NULL ? e : events[e] - first;
            const uint32_t code = ((c.codes[j * c.stride] ^ offset) >> c.shift) & mask;
            const int32_t weight = (int32_t)code - half;
            sum += values != NULL ? (int64_t)values[e] * weight : weight;
        }
        current[o] = saturated(current[o] + sum * ((int64_t)1 << q->shift));
    }
}

static uint32_t project_values(const esnn_model *m, const esnn_projection *q, int32_t *current,
                               const int16_t *values) {
    const esnn_dense *d = &q->as.dense;
    const uint8_t *weights = m->image + q->weights;
    const esnn_slot *slots = esnn_slots_of(m->arena), *source = &slots[q->source];
    const uint16_t *events = esnn_halves(m->arena, source->output),
                   *last = events + source->n_events;
    const int narrow = values != NULL && d->bits == 8 && q->port == ESNN_PORT_CURRENT &&
                       (slots[q->target].flags & ESNN_SATURATES) == 0;
    uint32_t met = values != NULL ? 0 : source->n_events;
    if (narrow && d->n_in == 1u && d->blocks == 1u) { /* the rows of all tiles lie in a row */
        const int8_t *row = (const int8_t *)weights;
        const int32_t value = values[0] * ((int32_t)1 << q->shift);
        for (const int32_t *end = current + d->n_out; current != end;) {
            *current++ += value * *row++;
        }
        return d->n_out; /* a source that emits 0 is silent */
    }
    for (uint32_t b = 0, first = 0; b < d->blocks; b++, first += d->n_in, current += d->n_out) {
        size_t n = 0;
        if (values != NULL) {
            for (; n < d->n_in; n++) {
                met += values[n] != 0;
            }
        } else {
            while (events + n != last && events[n] < first + d->n_in) {
                n++;
            }
        }
        if (narrow) {
            esnn_dense_values(current, (const int8_t *)weights, d->n_in, d->n_out, q->shift,
                              values);
        } else {
            project_wide(q, weights, values, events, n, first, current);
        }
        if (values != NULL) {
            values += n;
        } else {
            events += n;
        }
    }
    return met * d->n_out;
}

ESNN_ONCE static esnn_status check_values(const esnn_header *h, const esnn_projection *q) {
    const esnn_dense *d = &q->as.dense;
    return d->sources == 0 && d->n_sources == 0
               ? check(h, q, esnn_populations_of((const uint8_t *)h)[q->source].size)
               : ESNN_ERR_FORMAT;
}

const esnn_projection_operation esnn_op_dense_values = {check_values, project_values};
