/* Portable kernels: the plain C twin of every operation.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"

size_t esnn_add_events(int32_t *acc, const int8_t *rows, size_t n_out, const uint16_t *events,
                       size_t n_events, uint32_t first, uint32_t n_in) {
    const size_t stride = esnn_align((uint32_t)n_out);
    size_t e = 0;
    for (; e < n_events && events[e] < first + n_in; e++) {
        const int8_t *row = rows + (events[e] - first) * stride;
        for (size_t o = 0; o < n_out; o++) {
            acc[o] += row[o];
        }
    }
    return e;
}

size_t esnn_add_values(int32_t *acc, const int8_t *rows, size_t n_out, const int16_t *values,
                       size_t n_in) {
    const size_t stride = esnn_align((uint32_t)n_out);
    size_t used = 0;
    for (size_t j = 0; j < n_in; j++) {
        const int32_t value = values[j];
        if (value == 0) {
            continue;
        }
        const int8_t *row = rows + j * stride;
        for (size_t o = 0; o < n_out; o++) {
            acc[o] += value * row[o];
        }
        used++;
    }
    return used;
}

void esnn_scale(int32_t *acc, size_t n, uint32_t shift) {
    const int32_t factor = (int32_t)1 << shift; /* a negative left shift would be undefined */
    for (size_t k = 0; k < n; k++) {
        acc[k] *= factor;
    }
}

/* exact (x * b + 2^14) >> 15 for 32-bit x without a 64-bit product */
static inline int32_t leak(int32_t x, uint32_t b) {
    return (x >> 15) * (int32_t)b + (int32_t)((((uint32_t)x & 0x7fffu) * b + (1u << 14)) >> 15);
}

static inline int32_t clamp(int32_t x, int32_t bound) {
    return x < -bound ? -bound : x > bound - 1 ? bound - 1 : x;
}

#define SYNAPSE_BOUND ((int32_t)1 << 29)
#define MEMBRANE_BOUND ((int32_t)1 << 30)

/* one membrane after the current x entered; `fired` comes from the membrane before */
static inline int32_t integrate(int32_t v, int32_t x, uint32_t decay, int32_t threshold,
                                uint8_t reset) {
    const int fired = v > threshold;
    int32_t next = leak(v, decay);
    if (fired && reset == ESNN_RESET_ZERO) {
        next = 0;
    }
    next += x;
    if (fired && reset == ESNN_RESET_SUBTRACT) {
        next -= threshold;
    }
    if (fired && reset == ESNN_RESET_ZERO_DISCARD) {
        return 0;
    }
    return clamp(next, MEMBRANE_BOUND);
}

size_t esnn_update(const esnn_neurons *n, const int32_t *current, uint16_t *events) {
    size_t fired = 0;
    for (size_t k = 0; k < n->size; k++) {
        int32_t x = current[k] + (n->bias ? n->bias[k] : 0);
        if (n->synapse) {
            x += leak(n->synapse[k], n->synaptic_decay[k * n->synaptic_stride]);
            x = clamp(x, SYNAPSE_BOUND);
            n->synapse[k] = x;
        }
        const int32_t v =
            integrate(n->membrane[k], x, n->decay[k * n->decay_stride], n->threshold[k], n->reset);
        n->membrane[k] = v;
        if (v > n->threshold[k]) {
            events[fired++] = (uint16_t)k;
        }
    }
    return fired;
}
