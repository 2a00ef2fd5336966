/* Dense projections.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"

typedef void kernel(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                    uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first);

static esnn_status check(const esnn_header *h, const esnn_projection *q, uint32_t n_in) {
    const esnn_population *populations = esnn_populations_of((const uint8_t *)h);
    const esnn_dense *d = &q->as.dense;
    if ((d->bits != 8 && d->bits != 4 && d->bits != 2) || d->zero != 0 ||
        !esnn_all_zero(d->reserved, 5) || d->blocks == 0 || d->n_in == 0 || d->n_out == 0 ||
        (uint32_t)d->blocks * d->n_in != n_in ||
        (uint32_t)d->blocks * d->n_out != populations[q->target].size) {
        return ESNN_ERR_FORMAT;
    }
    const uint64_t words = ((uint64_t)d->n_out * d->bits + 31u) / 32u;
    return esnn_inside(h, q->weights, 4u * d->n_in * words) ? ESNN_OK : ESNN_ERR_FORMAT;
}

/* neurons of all the sources of a projection, all of which emit spikes; 0: it is not sound */
static uint32_t sources_size(const esnn_header *h, const esnn_projection *q) {
    const uint8_t *image = (const uint8_t *)h;
    const esnn_population *populations = esnn_populations_of(image);
    const esnn_dense *d = &q->as.dense;
    if (d->n_sources == 0) {
        const esnn_population *source = &populations[q->source];
        return d->sources == 0 && source->bits == 0 ? source->size : 0u;
    }
    if (d->blocks != 1 || !esnn_inside(h, d->sources, 2u * (uint64_t)d->n_sources) ||
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

/* a kernel of its own for each width, for spikes whose sums cannot leave 30 bits */
static esnn_status check_events(const esnn_header *h, const esnn_projection *q, uint16_t bits) {
    const uint32_t size = sources_size(h, q);
    return q->as.dense.bits == bits && size > 0 ? check(h, q, size) : ESNN_ERR_FORMAT;
}

/* the events of all sources in one list: what the fixed cost of a tile is paid for only once */
static uint32_t project_sources(const esnn_model *m, const esnn_projection *q, int32_t *current,
                                kernel *add) {
    const esnn_dense *d = &q->as.dense;
    const int8_t *weights = (const int8_t *)(m->image + q->weights);
    const esnn_population *populations = esnn_populations_of(m->image);
    const esnn_slot *slots = esnn_slots_of(m->arena);
    const uint16_t *sources = esnn_u16(m->image, d->sources);
    uint16_t *list = esnn_halves(m->arena, m->list);
    uint32_t first = 0, held = 0, met = 0;
    for (uint16_t k = 0; k < d->n_sources; k++) {
        const esnn_slot *source = &slots[sources[k]];
        const uint16_t *event = esnn_halves(m->arena, source->output);
        const uint16_t *last = event + source->n_events;
        met += source->n_events;
        while (event != last) {
            const size_t here = (size_t)(last - event), room = ESNN_LIST_MOST - held;
            const uint16_t *end = event + (here < room ? here : room);
            while (event != end) {
                list[held++] = (uint16_t)(first + *event++);
            }
            if (held == ESNN_LIST_MOST) {
                add(current, weights, d->n_in, d->n_out, q->shift, list, held, 0);
                held = 0;
            }
        }
        first += populations[sources[k]].size;
    }
    if (held > 0) {
        add(current, weights, d->n_in, d->n_out, q->shift, list, held, 0);
    }
    return met * d->n_out;
}

/* many blocks, each a small projection of its own */
static uint32_t project_blocks(const esnn_model *m, const esnn_projection *q, int32_t *current,
                               kernel *add) {
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

/* merged, or in blocks too large for a kernel of their own */
static uint32_t project_many(const esnn_model *m, const esnn_projection *q, int32_t *current,
                             kernel *add) {
    return q->as.dense.n_sources > 0 ? project_sources(m, q, current, add)
                                     : project_blocks(m, q, current, add);
}

/* a projection that is neither is one call of its kernel */
static inline int is_one(const esnn_dense *d) { return d->n_sources == 0 && d->blocks == 1; }

static inline uint32_t project_one(const esnn_model *m, const esnn_projection *q, int32_t *current,
                                   kernel *add) {
    const esnn_dense *d = &q->as.dense;
    const esnn_slot *source = &esnn_slots_of(m->arena)[q->source];
    const uint32_t n = source->n_events;
    add(current, (const int8_t *)(m->image + q->weights), d->n_in, d->n_out, q->shift,
        esnn_halves(m->arena, source->output), n, 0);
    return n * d->n_out;
}

static esnn_status check8(const esnn_header *h, const esnn_projection *q) {
    return check_events(h, q, 8);
}

static uint32_t project8(const esnn_model *m, const esnn_projection *q, int32_t *current,
                         const int16_t *values) {
    const esnn_dense *d = &q->as.dense;
    (void)values;
    if (is_one(d)) {
        return project_one(m, q, current, esnn_dense_events);
    }
    if (d->blocks > 1 && d->n_out <= ESNN_TILE) {
        const esnn_slot *source = &esnn_slots_of(m->arena)[q->source];
        esnn_blocks_events(current, (const int8_t *)(m->image + q->weights), d->n_in, d->n_out,
                           q->shift, esnn_halves(m->arena, source->output), source->n_events);
        return source->n_events * d->n_out;
    }
    return project_many(m, q, current, esnn_dense_events);
}

static esnn_status check4(const esnn_header *h, const esnn_projection *q) {
    return check_events(h, q, 4);
}

static uint32_t project4(const esnn_model *m, const esnn_projection *q, int32_t *current,
                         const int16_t *values) {
    (void)values;
    return is_one(&q->as.dense) ? project_one(m, q, current, esnn_dense4_events)
                                : project_many(m, q, current, esnn_dense4_events);
}

static esnn_status check2(const esnn_header *h, const esnn_projection *q) {
    return check_events(h, q, 2);
}

static uint32_t project2(const esnn_model *m, const esnn_projection *q, int32_t *current,
                         const int16_t *values) {
    (void)values;
    return is_one(&q->as.dense) ? project_one(m, q, current, esnn_dense2_events)
                                : project_many(m, q, current, esnn_dense2_events);
}

const esnn_projection_operation esnn_op_dense8 = {check8, project8};
const esnn_projection_operation esnn_op_dense4 = {check4, project4};
const esnn_projection_operation esnn_op_dense2 = {check2, project2};

/* ---- weights of any width, values or spikes, with saturation where it may be needed ---- */

/* Row j of the tile that starts at target neuron `tile` (see esnn_internal.h): its place, and its
 * words. */
static const uint8_t *row_of(const uint8_t *weights, const esnn_dense *d, size_t tile, size_t j,
                             size_t *words) {
    const size_t per_word = 32u / d->bits, all = (d->n_out + per_word - 1u) / per_word;
    const size_t before = tile / per_word;
    *words = all - before < 4u ? all - before : 4u;
    return weights + 4u * (before * d->n_in + j * *words);
}

/* the weight of target neuron k of a tile */
static int32_t weight_of(const uint8_t *row, size_t words, size_t k, uint16_t bits) {
    if (bits == 8) {
        return (int8_t)row[k];
    }
    if (bits == 4) {
        const size_t half = k / (4u * words), in_half = k % (4u * words);
        const size_t byte = in_half / 4u * 4u + 2u * half + (in_half & 2u) / 2u;
        const uint32_t codes = row[byte];
        return (int32_t)((codes >> (4u * (k & 1u))) & 15u) - 8;
    }
    const uint32_t codes = row[k / 16u * 4u + (k & 3u)];
    return (int32_t)((codes >> (2u * (k / 4u % 4u))) & 3u) - 2;
}

/* What the neurons of a block emit, asked for in ascending order: values, or 1 for those that are
 * in what is left of the list of spikes. */
typedef struct {
    const int16_t *values;
    const uint16_t *events, *end;
} emission;

static int32_t next_of(emission *e, uint32_t neuron) {
    if (e->values != NULL) {
        return e->values[neuron];
    }
    if (e->events != e->end && *e->events == neuron) {
        e->events++;
        return 1;
    }
    return 0;
}

#define AT_ONCE 8u

/* Sums of up to 8 target neurons of a tile, from number `from`, exact in 64 bits. */
static void add_up(int64_t sum[AT_ONCE], const esnn_dense *d, const uint8_t *weights, size_t tile,
                   size_t from, emission *e, uint32_t first) {
    for (size_t k = 0; k < AT_ONCE; k++) {
        sum[k] = 0;
    }
    for (uint32_t j = 0; j < d->n_in; j++) {
        const int32_t value = next_of(e, first + j);
        if (value != 0) {
            size_t words;
            const uint8_t *row = row_of(weights, d, tile, j, &words);
            for (size_t k = 0; k < AT_ONCE && from + k < words * (32u / d->bits); k++) {
                sum[k] += (int64_t)value * weight_of(row, words, from + k, d->bits);
            }
        }
    }
}

static int32_t saturated(int64_t x) {
    const int64_t limit = ESNN_CURRENT_LIMIT;
    return (int32_t)(x < -limit ? -limit : x > limit - 1 ? limit - 1 : x);
}

/* one block, whose source neurons start at number `first` */
static void project_wide(const esnn_projection *q, const uint8_t *weights, emission *e,
                         uint32_t first, int32_t *current) {
    const esnn_dense *d = &q->as.dense;
    const size_t tile_size = 4u * (32u / d->bits);
    const emission start = *e;
    for (size_t o = 0; o < d->n_out; o += AT_ONCE) {
        int64_t sum[AT_ONCE];
        const size_t tile = o / tile_size * tile_size;
        *e = start;
        add_up(sum, d, weights, tile, o - tile, e, first);
        for (size_t k = 0; k < AT_ONCE && o + k < d->n_out; k++) {
            current[o + k] = saturated(current[o + k] + sum[k] * ((int64_t)1 << q->shift));
        }
    }
}

static uint32_t project_values(const esnn_model *m, const esnn_projection *q, int32_t *current,
                               const int16_t *values) {
    const esnn_dense *d = &q->as.dense;
    const uint8_t *weights = m->image + q->weights;
    const esnn_slot *slots = esnn_slots_of(m->arena), *source = &slots[q->source];
    const uint16_t *events = esnn_halves(m->arena, source->output);
    emission e = {values, events, events + source->n_events};
    const int narrow = values != NULL && d->bits == 8 && q->port == ESNN_PORT_CURRENT &&
                       (slots[q->target].flags & ESNN_SATURATES) == 0;
    size_t used = source->n_events;
    if (values != NULL) {
        used = 0;
        for (size_t j = 0; j < (size_t)d->blocks * d->n_in; j++) {
            used += values[j] != 0;
        }
    }
    for (uint32_t b = 0, first = 0; b < d->blocks; b++, first += d->n_in, current += d->n_out) {
        if (narrow) {
            esnn_dense_values(current, (const int8_t *)weights, d->n_in, d->n_out, q->shift,
                              values + first);
        } else {
            project_wide(q, weights, &e, first, current);
        }
    }
    return (uint32_t)used * d->n_out;
}

static esnn_status check_values(const esnn_header *h, const esnn_projection *q) {
    const esnn_dense *d = &q->as.dense;
    return d->sources == 0 && d->n_sources == 0
               ? check(h, q, esnn_populations_of((const uint8_t *)h)[q->source].size)
               : ESNN_ERR_FORMAT;
}

const esnn_projection_operation esnn_op_dense_values = {check_values, project_values};
