/* Load, step, reset.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn.h"

#include <string.h>

#include "esnn_internal.h"

static int32_t *int32_at(uint8_t *arena, uint32_t offset) {
    return (int32_t *)(void *)(arena + offset);
}

static uint16_t *uint16_at(uint8_t *arena, uint32_t offset) {
    return (uint16_t *)(void *)(arena + offset);
}

/* the shared currents lie behind the slots, the scores at the end (see arena_bytes) */
static int32_t *currents_of(const esnn_model *m) {
    const uint32_t slots = esnn_header_of(m->image)->n_populations * (uint32_t)sizeof(esnn_slot);
    return int32_at(m->arena, slots);
}

static uint16_t scores_count(const esnn_header *h) {
    return esnn_populations_of((const uint8_t *)h)[h->readout_population].size;
}

static int32_t *scores_of(const esnn_model *m) {
    const esnn_header *h = esnn_header_of(m->image);
    return int32_at(m->arena, h->arena_bytes - 4u * scores_count(h));
}

esnn_status esnn_load(esnn_model *m, const void *image, size_t size, void *arena,
                      size_t arena_size) {
    esnn_info info;
    if (m == NULL || arena == NULL) {
        return ESNN_ERR_ARGUMENT;
    }
    if (((uintptr_t)arena & 3u) != 0) {
        return ESNN_ERR_ALIGN;
    }
    const esnn_status status = esnn_check(image, size, &info);
    if (status != ESNN_OK) {
        return status;
    }
    if (arena_size < info.arena_bytes) {
        return ESNN_ERR_ARENA;
    }
    m->image = (const uint8_t *)image;
    m->arena = (uint8_t *)arena;
    const esnn_population *p = esnn_populations_of(m->image);
    esnn_slot *slots = esnn_slots_of(m->arena);
    uint32_t widest = 0;
    for (uint16_t k = 1; k < info.n_populations; k++) {
        widest = p[k].size > widest ? p[k].size : widest;
    }
    uint32_t offset = info.n_populations * (uint32_t)sizeof(esnn_slot) + 4u * widest;
    for (uint16_t k = 0; k < info.n_populations; k++) {
        slots[k].state = offset;
        if (k > 0) {
            offset += 4u * p[k].size * (p[k].kind == ESNN_CUBA_LIF ? 2u : 1u);
        }
        slots[k].events = offset;
        if (p[k].kind != ESNN_ANALOG_INPUT) {
            offset += esnn_align(2u * p[k].size);
        }
    }
    esnn_reset(m);
    return ESNN_OK;
}

void esnn_reset(esnn_model *m) {
    const esnn_header *h = esnn_header_of(m->image);
    esnn_slot *slots = esnn_slots_of(m->arena);
    const uint32_t first = slots[0].state; /* what lies before is rewritten in every step */
    for (uint16_t k = 0; k < h->n_populations; k++) {
        slots[k].n_events = 0;
    }
    memset(m->arena + first, 0, h->arena_bytes - first);
    m->step = 0;
}

/* add what one projection carries to the currents of its target; returns the rows added */
static size_t project(const esnn_model *m, const esnn_projection *q, int32_t *current,
                      const int16_t *values) {
    const int8_t *weights = (const int8_t *)(m->image + q->weights);
    size_t used = 0;
    if (values != NULL) {
        for (uint16_t b = 0; b < q->blocks; b++, values += q->n_in, current += q->n_out) {
            used += esnn_dense_values(current, weights, q->n_in, q->n_out, q->shift, values);
        }
        return used;
    }
    const esnn_slot *source = &esnn_slots_of(m->arena)[q->source];
    const uint16_t *events = uint16_at(m->arena, source->events);
    const size_t n_events = source->n_events;
    if (q->blocks == 1) {
        if (n_events > 0) {
            esnn_dense_events(current, weights, q->n_in, q->n_out, q->shift, events, n_events, 0);
        }
        return n_events;
    }
    for (uint32_t first = 0; used < n_events; first += q->n_in, current += q->n_out) {
        size_t n = 0;
        while (used + n < n_events && events[used + n] < first + q->n_in) {
            n++;
        }
        if (n > 0) {
            esnn_dense_events(current, weights, q->n_in, q->n_out, q->shift, events + used, n,
                              first);
            used += n;
        }
    }
    return n_events;
}

static void sum_currents(const esnn_model *m, const esnn_population *p, const int16_t *frame,
                         esnn_result *out) {
    int32_t *current = currents_of(m);
    const esnn_projection *q = esnn_projections_of(m->image) + p->first_projection;
    if (p->bias != 0) {
        memcpy(current, m->image + p->bias, 4u * (size_t)p->size);
    } else {
        esnn_clear(current, p->size);
    }
    for (uint16_t j = 0; j < p->n_projections; j++, q++) {
        const int analog = q->source == 0 && frame != NULL;
        const size_t used = project(m, q, current, analog ? frame : NULL);
        *(analog ? &out->macs : &out->synops) += (uint32_t)(used * q->n_out);
    }
}

/* the resets of a LIF population, made before its update: the neurons that spiked in the step
 * before are in its event list, so that the update itself needs no branch for them */
static void reset_fired(const esnn_population *p, const esnn_slot *slot, const uint16_t *events,
                        const int32_t *threshold, int32_t *v, int32_t *current) {
    for (uint32_t e = 0; e < slot->n_events; e++) {
        const uint16_t k = events[e];
        if (p->reset == ESNN_RESET_SUBTRACT) {
            current[k] -= threshold[k];
        } else if (p->reset != ESNN_RESET_NONE) {
            v[k] = 0;
            current[k] = p->reset == ESNN_RESET_ZERO ? current[k] : 0;
        }
    }
}

static void update(const esnn_model *m, const esnn_population *p, esnn_slot *slot) {
    const uint8_t *image = m->image;
    const int cuba = p->kind == ESNN_CUBA_LIF;
    const uint16_t *decay = (const uint16_t *)(const void *)(image + p->decay);
    const int32_t *threshold = (const int32_t *)(const void *)(image + p->threshold);
    int32_t *current = currents_of(m);
    int32_t *v = int32_at(m->arena, slot->state);
    uint16_t *events = uint16_at(m->arena, slot->events);
    if (!cuba && (p->flags & ESNN_DECAY_PER_NEURON) == 0 && *decay < ESNN_DECAY_ONE) {
        reset_fired(p, slot, events, threshold, v, current);
        slot->n_events =
            (uint32_t)esnn_lif_saturating(v, current, threshold, *decay, p->size, events);
        return;
    }
    const esnn_neurons neurons = {
        .size = p->size,
        .decay = decay,
        .decay_stride = (p->flags & ESNN_DECAY_PER_NEURON) != 0,
        .synaptic_decay = (const uint16_t *)(const void *)(image + p->synaptic_decay),
        .synaptic_stride = (p->flags & ESNN_SYNAPTIC_DECAY_PER_NEURON) != 0,
        .threshold = threshold,
        .membrane = v,
        .synapse = cuba ? v + p->size : NULL,
        .reset = p->reset,
    };
    slot->n_events = (uint32_t)esnn_update(&neurons, current, events);
}

static int32_t add_saturating(int32_t a, int32_t b) {
    if (b > 0 ? a > INT32_MAX - b : a < INT32_MIN - b) {
        return b > 0 ? INT32_MAX : INT32_MIN;
    }
    return a + b;
}

static void read_out(const esnn_model *m) {
    const esnn_header *h = esnn_header_of(m->image);
    const esnn_slot *slot = &esnn_slots_of(m->arena)[h->readout_population];
    int32_t *scores = scores_of(m);
    if (h->readout == ESNN_SPIKE_COUNT) {
        const uint16_t *events = uint16_at(m->arena, slot->events);
        for (uint32_t e = 0; e < slot->n_events; e++) {
            scores[events[e]] = add_saturating(scores[events[e]], 1);
        }
        return;
    }
    const int32_t *v = int32_at(m->arena, slot->state);
    for (uint16_t k = 0; k < scores_count(h); k++) {
        if (h->readout_mode == ESNN_POTENTIAL_SUM) {
            scores[k] = add_saturating(scores[k], v[k]);
        } else if (h->readout_mode == ESNN_POTENTIAL_LAST || m->step == 0 || v[k] > scores[k]) {
            scores[k] = v[k];
        }
    }
}

/* frame: the analog values, NULL for a spike input, whose events are in its slot */
static void step(esnn_model *m, const int16_t *frame, esnn_result *out) {
    const esnn_header *h = esnn_header_of(m->image);
    const esnn_population *p = esnn_populations_of(m->image);
    esnn_slot *slots = esnn_slots_of(m->arena);
    *out = (esnn_result){.scores = scores_of(m), .n_scores = scores_count(h)};
    for (uint16_t k = 1; k < h->n_populations; k++) {
        sum_currents(m, &p[k], frame, out);
        update(m, &p[k], &slots[k]);
        out->spikes += slots[k].n_events;
    }
    read_out(m);
    if (m->step != UINT32_MAX) {
        m->step++;
    }
    out->step = m->step;
    for (uint16_t k = 1; k < out->n_scores; k++) {
        if (out->scores[k] > out->scores[out->label]) {
            out->label = k;
        }
    }
}

esnn_status esnn_step(esnn_model *m, const int16_t *frame, esnn_result *out) {
    if (m == NULL || frame == NULL || out == NULL) {
        return ESNN_ERR_ARGUMENT;
    }
    const esnn_population *input = esnn_populations_of(m->image);
    if (input->kind == ESNN_ANALOG_INPUT) {
        step(m, frame, out);
        return ESNN_OK;
    }
    esnn_slot *slot = esnn_slots_of(m->arena);
    uint16_t *events = uint16_at(m->arena, slot->events);
    slot->n_events = 0;
    for (uint16_t k = 0; k < input->size; k++) {
        if (frame[k] != 0) {
            events[slot->n_events++] = k;
        }
    }
    step(m, NULL, out);
    return ESNN_OK;
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
        memcpy(uint16_at(m->arena, slot->events), events, n * sizeof *events);
    }
    slot->n_events = (uint32_t)n;
    step(m, NULL, out);
    return ESNN_OK;
}

size_t esnn_events(const esnn_model *m, uint16_t population, const uint16_t **events) {
    const esnn_slot *slot = &esnn_slots_of(m->arena)[population];
    *events = uint16_at(m->arena, slot->events);
    return slot->n_events;
}

size_t esnn_size(const esnn_model *m, uint16_t population) {
    return esnn_populations_of(m->image)[population].size;
}

uint32_t esnn_digest(const esnn_model *m, uint32_t crc) {
    const esnn_header *h = esnn_header_of(m->image);
    for (uint16_t k = 1; k < h->n_populations; k++) {
        const uint16_t *events;
        const uint16_t n = (uint16_t)esnn_events(m, k, &events);
        crc = esnn_crc32(crc, &n, sizeof n);
        crc = esnn_crc32(crc, events, n * sizeof *events);
    }
    return esnn_crc32(crc, scores_of(m), 4u * (size_t)scores_count(h));
}

esnn_status esnn_selftest(esnn_model *m) {
    if (m == NULL) {
        return ESNN_ERR_ARGUMENT;
    }
    const esnn_header *h = esnn_header_of(m->image);
    const uint16_t size = esnn_populations_of(m->image)->size;
    const int16_t *frame = (const int16_t *)(const void *)(m->image + h->selftest);
    esnn_result out;
    uint32_t crc = 0;
    esnn_reset(m);
    for (uint16_t t = 0; t < h->selftest_steps; t++, frame += size) {
        const esnn_status status = esnn_step(m, frame, &out);
        if (status != ESNN_OK) {
            return status;
        }
        crc = esnn_digest(m, crc);
    }
    esnn_reset(m);
    return h->selftest_steps > 0 && crc == h->selftest_digest ? ESNN_OK : ESNN_ERR_SELFTEST;
}
