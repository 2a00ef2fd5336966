/* Plain LIF populations: one decay for all neurons, resets by event list, a fused update.
 *
 * Resets touch only the neurons that spiked: delayed ones before the update, from the event list of
 * the step before, and resets at once after it, from the list that the update wrote. So the update
 * itself needs no branch for them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"

ESNN_ONCE static esnn_status check(const esnn_header *h, const esnn_population *p) {
    const esnn_neurons *n = &p->as.neurons;
    if (p->bits != 0 || (p->flags & ~ESNN_REACHES) != 0 || n->rule != ESNN_RULE_Q15 ||
        n->max_spikes != 1 || n->reset > ESNN_RESET_ZERO_AT_ONCE ||
        !esnn_all_zero(&n->synaptic_decay, 8) || n->conduction != ESNN_JUMPED ||
        n->state_bits != ESNN_MEMBRANE_BITS || (n->zero[0] | n->zero[1]) != 0) {
        return ESNN_ERR_FORMAT;
    }
    esnn_status status = esnn_check_u16(h, n->decay, 1, ESNN_DECAY_ONE - 1u);
    if (status == ESNN_OK) {
        const int subtracts =
            n->reset == ESNN_RESET_SUBTRACT || n->reset == ESNN_RESET_SUBTRACT_AT_ONCE;
        const uint32_t most = subtracts ? ESNN_THRESHOLD_BOUND - 1u : ESNN_NEVER;
        const uint32_t reaches = (p->flags & ESNN_REACHES) != 0;
        status = esnn_check_i32(h, n->above, p->size, 0, (int32_t)(most - reaches));
    }
    return status == ESNN_OK ? esnn_check_bias(h, n->bias, p->size) : status;
}

static void reset_before(const esnn_population *p, const esnn_slot *slot, const uint16_t *events,
                         const int32_t *above, int32_t *v, int32_t *current) {
    const uint8_t reset = p->as.neurons.reset;
    if (reset < ESNN_RESET_SUBTRACT || reset > ESNN_RESET_ZERO_DISCARD) {
        return;
    }
    const uint16_t *last = events + slot->n_events;
    if (reset == ESNN_RESET_SUBTRACT) {
        for (const uint16_t *event = events; event != last; event++) {
            current[*event] -= above[*event];
        }
        if ((p->flags & ESNN_REACHES) == 0) {
            return;
        }
        for (const uint16_t *event = events; event != last; event++) {
            current[*event] -= 1; /* the threshold is one more */
        }
        return;
    }
    for (const uint16_t *event = events; event != last; event++) {
        v[*event] = 0;
        if (reset == ESNN_RESET_ZERO_DISCARD) {
            current[*event] = 0;
        }
    }
}

static void reset_after(const esnn_population *p, const esnn_slot *slot, const uint16_t *events,
                        const int32_t *above, int32_t *v) {
    if (p->as.neurons.reset < ESNN_RESET_SUBTRACT_AT_ONCE) {
        return;
    }
    const int subtracts = p->as.neurons.reset == ESNN_RESET_SUBTRACT_AT_ONCE;
    const int32_t reaches = (p->flags & ESNN_REACHES) != 0;
    for (uint32_t e = 0; e < slot->n_events; e++) {
        const uint16_t k = events[e];
        v[k] = subtracts ? v[k] - (above[k] + reaches) : 0;
    }
}

static void update(const esnn_model *m, const esnn_population *p, esnn_slot *slot,
                   const esnn_currents *in) {
    const esnn_neurons *n = &p->as.neurons;
    const uint32_t decay = *esnn_u16(m->image, n->decay);
    const int32_t *above = esnn_i32(m->image, n->above);
    int32_t *v = esnn_words(m->arena, slot->state);
    uint16_t *events = esnn_halves(m->arena, slot->output);
    if (in->current ==
        NULL) { /* no input, and nothing to reset: no neuron can reach its threshold */
        if ((slot->flags & ESNN_RESTING) == 0 && esnn_decay(v, p->size, decay) == 0) {
            slot->flags |= ESNN_RESTING;
        }
        return;
    }
    const uint16_t flags = slot->flags;
    slot->flags = flags & (uint16_t)~ESNN_RESTING;
    reset_before(p, slot, events, above, v, in->current);
    slot->n_events = (uint32_t)((flags & ESNN_FREE) != 0 ? esnn_lif : esnn_lif_saturating)(
        v, in->current, above, decay, p->size, events);
    reset_after(p, slot, events, above, v);
}

const esnn_population_operation esnn_op_lif = {check, update};

/* ---- in blocks: where a block meets no spike and rests, a step costs nothing ---- */

ESNN_ONCE static esnn_status check_blocks(const esnn_header *h, const esnn_population *p) {
    return p->as.neurons.bias == 0 ? check(h, p) : ESNN_ERR_FORMAT;
}

#if defined(ESNN_KERNELS_MVE)

/* vectors update all of them faster than any other code finds those that are due */
const esnn_population_operation esnn_op_lif_blocks = {check_blocks, update};

#else

static void update_blocks(const esnn_model *m, const esnn_population *p, esnn_slot *slot,
                          const esnn_currents *in) {
    const esnn_neurons *n = &p->as.neurons;
    if ((slot->flags & ESNN_FREE) == 0) {
        update(m, p, slot, in);
        return;
    }
    const size_t blocks = esnn_blocks_of(m->image, p), n_out = p->size / blocks;
    const int32_t *above = esnn_i32(m->image, n->above);
    int32_t *v = esnn_words(m->arena, slot->state);
    uint16_t *events = esnn_halves(m->arena, slot->output);
    if (in->current != NULL) {
        reset_before(p, slot, events, above, v, in->current);
    }
    slot->n_events = (uint32_t)esnn_lif_blocks(v, in->current, above, *esnn_u16(m->image, n->decay),
                                               blocks, n_out, esnn_met_of(m, p, slot), events);
    reset_after(p, slot, events, above, v);
}

const esnn_population_operation esnn_op_lif_blocks = {check_blocks, update_blocks};

#endif
