/* Read-outs: from the population of the answer to scores.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"

static int has_neurons(const esnn_population *p) {
    return p->kind == ESNN_LIF || p->kind == ESNN_NEURON || p->kind == ESNN_LIF_BLOCKS;
}

ESNN_ONCE static esnn_status check_spikes(const esnn_header *h, const esnn_population *p) {
    return has_neurons(p) && h->readout_mode == 0 && h->readout_table == 0 ? ESNN_OK
                                                                           : ESNN_ERR_FORMAT;
}

static void count_spikes(const esnn_model *m, const esnn_population *p, const esnn_slot *slot,
                         int32_t *scores) {
    const uint16_t *output = esnn_halves(m->arena, slot->output);
    if (p->bits != 0) {
        for (size_t k = 0; k < p->size; k++) {
            scores[k] = esnn_add_saturating(scores[k], output[k]);
        }
        return;
    }
    for (uint32_t e = 0; e < slot->n_events; e++) {
        scores[output[e]] = esnn_add_saturating(scores[output[e]], 1);
    }
}

const esnn_readout_operation esnn_op_spike_count = {check_spikes, count_spikes};

static void note(const esnn_model *m, int32_t *score) {
    if (*score == 0) {
        *score = m->step < (uint32_t)INT32_MAX ? INT32_MAX - (int32_t)m->step : 1;
    }
}

ESNN_RARE static void note_first(const esnn_model *m, const esnn_population *p,
                                 const esnn_slot *slot, int32_t *scores) {
    const uint16_t *output = esnn_halves(m->arena, slot->output);
    const size_t n = p->bits != 0 ? p->size : slot->n_events;
    for (size_t e = 0; e < n; e++) {
        if (p->bits == 0) {
            note(m, &scores[output[e]]);
        } else if (output[e] != 0) {
            note(m, &scores[e]);
        }
    }
}

const esnn_readout_operation esnn_op_first_spike = {check_spikes, note_first};

ESNN_ONCE static esnn_status check_potential(const esnn_header *h, const esnn_population *p) {
    return p->kind != ESNN_DELAY_LINE && h->readout_mode <= ESNN_POTENTIAL_SUM &&
                   h->readout_table == 0
               ? ESNN_OK
               : ESNN_ERR_FORMAT;
}

static void read_potential(const esnn_model *m, const esnn_population *p, const esnn_slot *slot,
                           int32_t *scores) {
    const uint8_t mode = esnn_header_of(m->image)->readout_mode;
    const int32_t *v = esnn_words(m->arena, slot->state);
    for (size_t k = 0; k < p->size; k++) {
        if (mode == ESNN_POTENTIAL_SUM) {
            scores[k] = esnn_add_saturating(scores[k], v[k]);
        } else if (mode == ESNN_POTENTIAL_LAST || m->step == 0 || v[k] > scores[k]) {
            scores[k] = v[k];
        }
    }
}

const esnn_readout_operation esnn_op_potential = {check_potential, read_potential};

ESNN_ONCE static esnn_status check_softmax(const esnn_header *h, const esnn_population *p) {
    if (p->kind == ESNN_DELAY_LINE || h->readout_mode > ESNN_MAX_STATE_SHIFT ||
        !esnn_inside(h, h->readout_table, 2u * ESNN_SOFTMAX_SIZE)) {
        return ESNN_ERR_FORMAT;
    }
    return *esnn_u16((const uint8_t *)h, h->readout_table) != 0 ? ESNN_OK : ESNN_ERR_BOUND;
}

/* exp of how far a membrane is below the largest one */
static uint32_t weight_of(const uint16_t *table, int32_t largest, int32_t v, uint32_t shift) {
    const uint32_t below = ((uint32_t)largest - (uint32_t)v) >> shift;
    return table[below < ESNN_SOFTMAX_SIZE ? below : ESNN_SOFTMAX_SIZE - 1u];
}

ESNN_RARE static void add_softmax(const esnn_model *m, const esnn_population *p,
                                  const esnn_slot *slot, int32_t *scores) {
    const esnn_header *h = esnn_header_of(m->image);
    const uint16_t *table = esnn_u16(m->image, h->readout_table);
    const int32_t *v = esnn_words(m->arena, slot->state);
    int32_t largest = v[0];
    uint32_t sum = 0;
    for (size_t k = 1; k < p->size; k++) {
        largest = v[k] > largest ? v[k] : largest;
    }
    for (size_t k = 0; k < p->size; k++) {
        sum += weight_of(table, largest, v[k], h->readout_mode);
    }
    for (size_t k = 0; k < p->size; k++) {
        const uint32_t e = weight_of(table, largest, v[k], h->readout_mode);
        scores[k] = esnn_add_saturating(scores[k], (int32_t)((e << 15) / sum));
    }
}

const esnn_readout_operation esnn_op_softmax_sum = {check_softmax, add_softmax};
