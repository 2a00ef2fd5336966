/* Load, step, reset.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn.h"

#include <string.h>

#include "esnn_internal.h"

static uint16_t scores_count(const esnn_header *h) {
    return esnn_populations_of((const uint8_t *)h)[h->readout_population].size;
}

static int32_t *scores_of(const esnn_model *m) {
    const esnn_header *h = esnn_header_of(m->image);
    return esnn_words(m->arena, h->arena_bytes - 4u * scores_count(h));
}

static int is_lif(const esnn_population *p) {
    return p->kind == ESNN_LIF || p->kind == ESNN_LIF_BLOCKS;
}

/* Whether the membranes of a plain LIF population provably stay below 2^30. Where |v| <= V, the
 * next one is at most V decay + 1/2 + current + threshold: not above V for the V taken here. */
ESNN_ONCE static int stays_free(const esnn_header *h, uint16_t k) {
    const uint8_t *image = (const uint8_t *)h;
    const esnn_population *p = &esnn_populations_of(image)[k];
    const esnn_neurons *n = &p->as.neurons;
    uint64_t most = (uint64_t)esnn_largest_current(h, k, ESNN_PORT_CURRENT) + 1u;
    if (n->reset == ESNN_RESET_SUBTRACT) {
        const int32_t *above = esnn_i32(image, n->above);
        uint32_t largest = 0;
        for (size_t j = 0; j < p->size; j++) {
            largest = (uint32_t)above[j] > largest ? (uint32_t)above[j] : largest;
        }
        most += largest + 1u;
    }
    const uint32_t lost = ESNN_DECAY_ONE - *esnn_u16(image, n->decay);
    return most * ESNN_DECAY_ONE < (uint64_t)ESNN_NEVER * lost;
}

ESNN_ONCE esnn_status esnn_load(esnn_model *m, const void *image, size_t size, void *arena,
                                size_t arena_size) {
    if (m == NULL || arena == NULL) {
        return ESNN_ERR_ARGUMENT;
    }
    if (((uintptr_t)arena & 3u) != 0) {
        return ESNN_ERR_ALIGN;
    }
    const esnn_status status = esnn_check(image, size, NULL);
    if (status != ESNN_OK) {
        return status;
    }
    const esnn_header *h = esnn_header_of(image);
    if (arena_size < h->arena_bytes) {
        return ESNN_ERR_ARENA;
    }
    m->image = (const uint8_t *)image;
    m->arena = (uint8_t *)arena;
    esnn_slot *slots = esnn_slots_of(m->arena);
    (void)esnn_lay_out(h, m, slots);
    for (uint16_t k = 1; k < h->n_populations; k++) {
        if (esnn_largest_current(h, k, ESNN_PORT_CURRENT) >= ESNN_CURRENT_BOUND) {
            slots[k].flags = ESNN_SATURATES;
        } else if (is_lif(&esnn_populations_of(m->image)[k]) && stays_free(h, k)) {
            slots[k].flags = ESNN_FREE;
        }
    }
    esnn_reset(m);
    return ESNN_OK;
}

ESNN_ONCE void esnn_reset(esnn_model *m) {
    const esnn_header *h = esnn_header_of(m->image);
    esnn_slot *slots = esnn_slots_of(m->arena);
    const uint32_t first = slots[0].state; /* what lies before is rewritten in every step */
    for (uint16_t k = 0; k < h->n_populations; k++) {
        slots[k].n_events = 0;
        slots[k].head = slots[k].ring = 0;
        slots[k].quiet = UINT16_MAX; /* nothing was emitted ever */
        slots[k].flags &= (uint16_t)~ESNN_RESTING;
    }
    memset(m->arena + first, 0, h->arena_bytes - first);
    m->step = 0;
}

/* whether the sources of a projection, the first of which was quiet in the last step, have emitted
 * nothing for as long as it looks back */
ESNN_RARE ESNN_APART static int silent(const esnn_model *m, const esnn_slot *slots,
                                       const esnn_projection *q) {
    const uint32_t quiet = slots[q->source].quiet;
    if (q->kind == ESNN_DELAYED) {
        return quiet > q->as.delayed.longest;
    }
    if (q->kind <= ESNN_DENSE2) {
        const uint16_t *sources = esnn_u16(m->image, q->as.dense.sources);
        for (uint16_t k = 1; k < q->as.dense.n_sources; k++) {
            if (slots[sources[k]].quiet == 0) {
                return 0;
            }
        }
    }
    return 1;
}

/* the input of a population before any projection adds to it */
static void prepare(const esnn_model *m, const esnn_population *p, uint32_t bias,
                    esnn_currents *in) {
    in->current = esnn_words(m->arena, m->currents);
    if (bias != 0) {
        memcpy(in->current, m->image + bias, 4u * (size_t)p->size);
    } else {
        esnn_clear(in->current, p->size);
    }
    if (m->raised != 0) {
        in->raised = esnn_words(m->arena, m->raised);
        esnn_clear(in->raised, p->size);
    }
}

/* what one projection, which is not silent, adds */
static void add(const esnn_model *m, const esnn_projection *q, const esnn_currents *in,
                const int16_t *frame, esnn_result *out) {
    const esnn_projection_operation *operation = esnn_projection_operations[q->kind];
    int32_t *target = q->port == ESNN_PORT_THRESHOLD ? in->raised : in->current;
    if (q->kind <= ESNN_DENSE2 || esnn_populations_of(m->image)[q->source].bits == 0) {
        out->synops += operation->project(m, q, target, NULL);
        return;
    }
    const uint32_t output = esnn_slots_of(m->arena)[q->source].output;
    const int16_t *values = (const int16_t *)esnn_halves(m->arena, output);
    out->macs += operation->project(m, q, target, q->source == 0 ? frame : values);
}

/* keep what a population, or the input, put out, for projections with delays */
ESNN_RARE static void remember(const esnn_model *m, const esnn_population *p, esnn_slot *slot,
                               const uint16_t *output) {
    slot->head = (uint16_t)(slot->head + 1u < p->history ? slot->head + 1u : 0u);
    const uint32_t bytes = esnn_history_bytes(p);
    uint8_t *row = m->arena + slot->history + slot->head * bytes;
    if (p->bits != 0) {
        memcpy(row, output, 2u * (size_t)p->size);
        return;
    }
    uint32_t *bits = (uint32_t *)(void *)row;
    memset(row, 0, bytes);
    for (uint32_t e = 0; e < slot->n_events; e++) {
        bits[output[e] / 32u] |= (uint32_t)1 << (output[e] % 32u);
    }
}

/* after a population, or the input, has emitted */
static void emitted(const esnn_model *m, const esnn_population *p, esnn_slot *slot,
                    const uint16_t *output) {
    if (slot->n_events > 0) {
        slot->quiet = 0;
    } else if (slot->quiet < UINT16_MAX) {
        slot->quiet++;
    }
    if (p->history > 1) {
        remember(m, p, slot, output);
    }
}

/* the first of the largest scores */
static uint16_t largest(const int32_t *scores, uint16_t n) {
    uint16_t found = 0;
    int32_t most = scores[0];
    for (uint16_t k = 1; k < n; k++) {
        if (scores[k] > most) {
            most = scores[k];
            found = k;
        }
    }
    return found;
}

/* whether the highest score is so far above every other */
ESNN_RARE static uint8_t leads(const int32_t *scores, uint16_t n, uint16_t label, uint32_t margin) {
    for (uint16_t k = 0; k < n; k++) {
        if (k != label && (uint32_t)scores[label] - (uint32_t)scores[k] < margin) {
            return 0;
        }
    }
    return 1;
}

/* frame: the analog values, NULL for a spike input, whose events are in its slot */
static esnn_status step(esnn_model *m, const int16_t *frame, esnn_result *out) {
    const esnn_header *h = esnn_header_of(m->image);
    const esnn_population *p = esnn_populations_of(m->image), *end = p + h->n_populations;
    const esnn_projection *q = esnn_projections_of(m->image);
    esnn_slot *slots = esnn_slots_of(m->arena), *slot = slots;
    *out = (esnn_result){.scores = scores_of(m), .n_scores = scores_count(h)};
    emitted(m, p, slot,
            frame != NULL ? (const uint16_t *)frame : esnn_halves(m->arena, slot->output));
    for (p++, slot++; p != end; p++, slot++) {
        /* a plain LIF population has a NULL current where nothing can raise a membrane */
        esnn_currents in = {NULL, NULL};
        uint32_t bias = p->as.neurons.bias;
        if (!is_lif(p)) {
            bias = esnn_bias_of(p);
            prepare(m, p, bias, &in);
            if (p->kind == ESNN_LINEAR_STATE) {
                out->macs += (uint32_t)p->size * p->as.linear.order;
            }
        } else if (slot->n_events > 0 || bias != 0) {
            prepare(m, p, bias, &in);
        }
        for (const esnn_projection *last = q + p->n_projections; q != last; q++) {
            if (slots[q->source].quiet == 0 || !silent(m, slots, q)) {
                if (in.current == NULL) {
                    prepare(m, p, bias, &in);
                }
                add(m, q, &in, frame, out);
            }
        }
        esnn_population_operations[p->kind]->update(m, p, slot, &in);
        emitted(m, p, slot, esnn_halves(m->arena, slot->output));
        out->spikes += slot->n_events;
    }
    const uint16_t answer = h->readout_population;
    esnn_readout_operations[h->readout]->read(m, &esnn_populations_of(m->image)[answer],
                                              &slots[answer], scores_of(m));
    if (m->step != UINT32_MAX) {
        m->step++;
    }
    out->step = m->step;
    out->label = largest(out->scores, out->n_scores);
    if (h->margin > 0) {
        out->decided = leads(out->scores, out->n_scores, out->label, h->margin);
    }
    return ESNN_OK;
}

/* analog values: how many are not 0; ESNN_ERR_INPUT where one is wider than the input takes */
static esnn_status take_values(const esnn_population *input, esnn_slot *slot,
                               const int16_t *frame) {
    const int32_t limit = (int32_t)1 << (input->bits - 1u);
    uint32_t n = 0;
    for (uint16_t k = 0; k < input->size; k++) {
        if (frame[k] < -limit || frame[k] > limit - 1) {
            return ESNN_ERR_INPUT;
        }
        n += frame[k] != 0;
    }
    slot->n_events = n;
    return ESNN_OK;
}

esnn_status esnn_step(esnn_model *m, const int16_t *frame, esnn_result *out) {
    if (m == NULL || frame == NULL || out == NULL) {
        return ESNN_ERR_ARGUMENT;
    }
    const esnn_population *input = esnn_populations_of(m->image);
    esnn_slot *slot = esnn_slots_of(m->arena);
    if (input->kind == ESNN_ANALOG_INPUT) {
        const esnn_status status = take_values(input, slot, frame);
        return status == ESNN_OK ? step(m, frame, out) : status;
    }
    uint16_t *events = esnn_halves(m->arena, slot->output), *event = events;
    for (size_t k = 0, n = input->size; k < n; k++) {
        if (frame[k] != 0) {
            *event++ = (uint16_t)k;
        }
    }
    slot->n_events = (uint32_t)(event - events);
    return step(m, NULL, out);
}

esnn_status esnn_step_events(esnn_model *m, const uint16_t *events, size_t n, esnn_result *out) {
    if (m == NULL || out == NULL || (events == NULL && n > 0)) {
        return ESNN_ERR_ARGUMENT;
    }
    const esnn_population *input = esnn_populations_of(m->image);
    if (input->kind != ESNN_SPIKE_INPUT || n > input->size) {
        return ESNN_ERR_INPUT;
    }
    for (size_t e = 0; e < n; e++) {
        if (events[e] >= input->size || (e > 0 && events[e] <= events[e - 1])) {
            return ESNN_ERR_INPUT;
        }
    }
    esnn_slot *slot = esnn_slots_of(m->arena);
    if (n > 0) {
        memcpy(esnn_halves(m->arena, slot->output), events, n * sizeof *events);
    }
    slot->n_events = (uint32_t)n;
    return step(m, NULL, out);
}

size_t esnn_events(const esnn_model *m, uint16_t population, const uint16_t **events) {
    const esnn_slot *slot = &esnn_slots_of(m->arena)[population];
    *events = esnn_halves(m->arena, slot->output);
    return esnn_populations_of(m->image)[population].bits == 0 ? slot->n_events : 0u;
}

size_t esnn_values(const esnn_model *m, uint16_t population, const int16_t **values) {
    const esnn_population *p = &esnn_populations_of(m->image)[population];
    const esnn_slot *slot = &esnn_slots_of(m->arena)[population];
    *values = (const int16_t *)esnn_halves(m->arena, slot->output);
    return population > 0 && p->bits != 0 ? p->size : 0u;
}

size_t esnn_size(const esnn_model *m, uint16_t population) {
    return esnn_populations_of(m->image)[population].size;
}

ESNN_RARE uint32_t esnn_digest(const esnn_model *m, uint32_t crc) {
    const esnn_header *h = esnn_header_of(m->image);
    const esnn_population *p = esnn_populations_of(m->image);
    const esnn_slot *slots = esnn_slots_of(m->arena);
    for (uint16_t k = 1; k < h->n_populations; k++) {
        uint32_t n = p[k].size;
        if (p[k].bits == 0) {
            n = slots[k].n_events;
            crc = esnn_crc32(crc, &n, sizeof(uint16_t)); /* little-endian: its lower half */
        }
        crc = esnn_crc32(crc, esnn_halves(m->arena, slots[k].output), n * sizeof(uint16_t));
    }
    return esnn_crc32(crc, scores_of(m), 4u * (size_t)scores_count(h));
}

ESNN_ONCE esnn_status esnn_selftest(esnn_model *m) {
    if (m == NULL) {
        return ESNN_ERR_ARGUMENT;
    }
    const esnn_header *h = esnn_header_of(m->image);
    const int16_t *frame = (const int16_t *)(const void *)(m->image + h->selftest);
    esnn_result out;
    uint32_t crc = 0;
    esnn_reset(m);
    for (uint16_t left = h->selftest_steps; left > 0; left--) {
        if (esnn_step(m, frame, &out) == ESNN_OK) {
            crc = esnn_digest(m, crc);
        }
        frame += esnn_populations_of(m->image)->size;
    }
    esnn_reset(m);
    return h->selftest_steps > 0 && crc == h->selftest_digest ? ESNN_OK : ESNN_ERR_SELFTEST;
}
