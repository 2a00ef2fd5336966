/* Delays: of channels (delay lines), and of single synapses.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "esnn_internal.h"

/* the next neuron whose bit is set, from `k`; n where there is none */
static uint32_t next_set(const uint32_t *bits, uint32_t k, uint32_t n) {
    while (k < n) {
        const uint32_t rest = bits[k / 32u] >> (k % 32u);
        if (rest & 1u) {
            return k;
        }
        if (rest == 0) {
            k = (k / 32u + 1u) * 32u;
        } else {
            k += (rest & 0xffu) != 0 ? 1u : 8u;
        }
    }
    return n;
}

ESNN_ONCE static esnn_status check_line(const esnn_header *h, const esnn_population *p) {
    const uint8_t *image = (const uint8_t *)h;
    const esnn_population *populations = esnn_populations_of(image);
    const esnn_delay_line *d = &p->as.delay;
    if (p->bits != 0 || p->flags != 0 || p->n_projections != 0 || !esnn_all_zero(d->reserved, 11) ||
        d->source >= h->n_populations || p == &populations[d->source] ||
        populations[d->source].bits != 0 || populations[d->source].size != p->size ||
        d->longest > ESNN_MAX_DELAY || !esnn_inside(h, d->delays, p->size)) {
        return ESNN_ERR_FORMAT;
    }
    for (size_t k = 0; k < p->size; k++) {
        if (image[d->delays + k] > d->longest) {
            return ESNN_ERR_BOUND;
        }
    }
    return ESNN_OK;
}

/* The ring has a row of bits for each step to come; a spike is entered where it arrives. */
ESNN_RARE static void update_line(const esnn_model *m, const esnn_population *p, esnn_slot *slot,
                                  const esnn_currents *in) {
    const esnn_delay_line *d = &p->as.delay;
    const esnn_slot *source = &esnn_slots_of(m->arena)[d->source];
    const uint16_t *arrived = esnn_halves(m->arena, source->output);
    const uint8_t *delays = m->image + d->delays;
    const uint32_t words = esnn_bit_words(p->size), rows = d->longest + 1u;
    uint32_t *ring = (uint32_t *)esnn_words(m->arena, slot->state);
    (void)in;
    for (uint32_t e = 0; e < source->n_events; e++) {
        const uint16_t k = arrived[e];
        uint32_t row = slot->ring + (uint32_t)delays[k];
        row = row < rows ? row : row - rows;
        ring[row * words + k / 32u] |= (uint32_t)1 << (k % 32u);
    }
    uint32_t *now = ring + slot->ring * words;
    uint16_t *events = esnn_halves(m->arena, slot->output);
    uint32_t n = 0, k = 0;
    while ((k = next_set(now, k, p->size)) < p->size) {
        events[n++] = (uint16_t)k++;
    }
    slot->n_events = n;
    memset(now, 0, words * sizeof *now);
    slot->ring = (uint16_t)(slot->ring + 1u < rows ? slot->ring + 1u : 0u);
}

const esnn_population_operation esnn_op_delay_line = {check_line, update_line};

/* ---- synapses with delays ---- */

static const uint32_t *starts_of(const uint8_t *image, const esnn_delayed *d) {
    return (const uint32_t *)(const void *)(image + d->starts);
}

static uint32_t post_of(const uint8_t *image, const esnn_delayed *d, uint32_t k) {
    return d->n_out <= 256u ? image[d->post + k] : esnn_u16(image, d->post)[k];
}

/* the synapses of source neuron j: in buckets by delay, in each bucket ascending by target */
ESNN_ONCE static int sorted(const uint8_t *image, const esnn_delayed *d, uint32_t j) {
    const uint32_t first = starts_of(image, d)[j], n = starts_of(image, d)[j + 1u] - first;
    const uint16_t *ends = esnn_u16(image, d->ends) + j * (d->longest + 1u);
    uint32_t begin = 0;
    for (uint32_t delay = 0; delay <= d->longest; delay++) {
        if (ends[delay] < begin || ends[delay] > n) {
            return 0;
        }
        for (uint32_t k = begin; k < ends[delay]; k++) {
            const uint32_t post = post_of(image, d, first + k);
            if (post >= d->n_out || (k > begin && post <= post_of(image, d, first + k - 1u))) {
                return 0;
            }
        }
        begin = ends[delay];
    }
    return begin == n;
}

ESNN_ONCE static esnn_status check_delayed(const esnn_header *h, const esnn_projection *q) {
    const uint8_t *image = (const uint8_t *)h;
    const esnn_population *populations = esnn_populations_of(image);
    const esnn_delayed *d = &q->as.delayed;
    const uint32_t rows = d->longest + 1u;
    if (d->zero != 0 || !esnn_all_zero(d->reserved, 4) || d->longest > ESNN_MAX_DELAY ||
        d->n_in != populations[q->source].size || d->n_out != populations[q->target].size ||
        rows > populations[q->source].history || !esnn_inside(h, d->starts, 4u * (d->n_in + 1u)) ||
        !esnn_inside(h, d->ends, 2u * rows * d->n_in)) {
        return ESNN_ERR_FORMAT;
    }
    const uint32_t *starts = starts_of(image, d);
    const uint32_t n = starts[d->n_in];
    if (starts[0] != 0 || n == 0 || !esnn_inside(h, q->weights, n) ||
        !esnn_inside(h, d->post, esnn_times(n, d->n_out <= 256u ? 1u : 2u))) {
        return ESNN_ERR_FORMAT;
    }
    for (uint32_t j = 0; j < d->n_in; j++) {
        if (starts[j] > starts[j + 1u] || starts[j + 1u] > n || !sorted(image, d, j)) {
            return ESNN_ERR_FORMAT;
        }
    }
    return ESNN_OK;
}

/* add `value` times the weights of source neuron j that are so late; returns their number */
ESNN_RARE static uint32_t arrive(const esnn_model *m, const esnn_projection *q, int32_t *current,
                                 uint32_t j, uint32_t delay, int32_t value) {
    const uint8_t *image = m->image;
    const esnn_delayed *d = &q->as.delayed;
    const uint16_t *ends = esnn_u16(image, d->ends) + j * (d->longest + 1u);
    const uint32_t first = starts_of(image, d)[j];
    const uint32_t begin = first + (delay > 0 ? ends[delay - 1u] : 0u), end = first + ends[delay];
    const int8_t *weights = (const int8_t *)(image + q->weights);
    if (d->n_out <= 256u) {
        const uint8_t *post = image + d->post;
        for (uint32_t k = begin; k < end; k++) {
            current[post[k]] += weights[k] * value;
        }
    } else {
        const uint16_t *post = esnn_u16(image, d->post);
        for (uint32_t k = begin; k < end; k++) {
            current[post[k]] += weights[k] * value;
        }
    }
    return end - begin;
}

/* synapses without delay: what the source emits is at hand, and its history is not kept */
ESNN_RARE ESNN_APART static uint32_t project_at_once(const esnn_model *m, const esnn_projection *q,
                                                     int32_t *current, const int16_t *values) {
    const esnn_delayed *d = &q->as.delayed;
    const esnn_slot *source = &esnn_slots_of(m->arena)[q->source];
    const uint16_t *events = esnn_halves(m->arena, source->output);
    const uint32_t n = values != NULL ? d->n_in : source->n_events;
    const int32_t scale = (int32_t)1 << q->shift;
    uint32_t met = 0;
    for (uint32_t e = 0; e < n; e++) {
        const uint32_t j = values != NULL ? e : events[e];
        const int32_t value = values != NULL ? values[e] * scale : scale;
        met += value != 0 ? arrive(m, q, current, j, 0, value) : 0u;
    }
    return met;
}

/* the same of spikes, to few neurons: of a block a pair, say, where each spike meets two */
static uint32_t project_few(const esnn_model *m, const esnn_projection *q, int32_t *current) {
    const esnn_delayed *d = &q->as.delayed;
    const esnn_slot *source = &esnn_slots_of(m->arena)[q->source];
    const uint16_t *event = esnn_halves(m->arena, source->output), *last = event + source->n_events;
    const uint32_t *starts = starts_of(m->image, d);
    const uint8_t *post = m->image + d->post;
    const int8_t *weights = (const int8_t *)(m->image + q->weights);
    const int32_t scale = (int32_t)1 << q->shift;
    uint32_t met = 0;
    while (event != last) {
        const uint32_t j = *event++;
        uint32_t k = starts[j];
        const uint32_t end = starts[j + 1u];
        met += end - k;
        for (; k != end; k++) {
            current[post[k]] += weights[k] * scale;
        }
    }
    return met;
}

ESNN_RARE ESNN_APART static uint32_t project_late(const esnn_model *m, const esnn_projection *q,
                                                  int32_t *current, const int16_t *values) {
    const esnn_delayed *d = &q->as.delayed;
    const esnn_population *p = &esnn_populations_of(m->image)[q->source];
    const esnn_slot *slot = &esnn_slots_of(m->arena)[q->source];
    const int32_t scale = (int32_t)1 << q->shift;
    uint32_t met = 0, row = slot->head;
    for (uint32_t delay = 0; delay <= d->longest; delay++) {
        const uint8_t *past = m->arena + slot->history;
        if (values != NULL) {
            const int16_t *then =
                (const int16_t *)(const void *)(past + row * esnn_align(2u * d->n_in));
            for (uint32_t j = 0; j < d->n_in; j++) {
                met += then[j] != 0 ? arrive(m, q, current, j, delay, then[j] * scale) : 0u;
            }
        } else {
            const uint32_t *then =
                (const uint32_t *)(const void *)(past + row * 4u * esnn_bit_words(d->n_in));
            uint32_t j = 0;
            while ((j = next_set(then, j, d->n_in)) < d->n_in) {
                met += arrive(m, q, current, j++, delay, scale);
            }
        }
        row = row > 0 ? row - 1u : p->history - 1u;
    }
    return met;
}

static uint32_t project_delayed(const esnn_model *m, const esnn_projection *q, int32_t *current,
                                const int16_t *values) {
    const esnn_delayed *d = &q->as.delayed;
    if (d->longest > 0) {
        return project_late(m, q, current, values);
    }
    return values != NULL || d->n_out > 256u ? project_at_once(m, q, current, values)
                                             : project_few(m, q, current);
}

const esnn_projection_operation esnn_op_delayed = {check_delayed, project_delayed};
