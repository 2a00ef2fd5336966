/* Portable kernels: the plain C twin of every operation.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "esnn_internal.h"

const char *esnn_kernel_name(void) {
#if defined(ESNN_KERNELS_MVE)
    return "Helium (Armv8.1-M MVE)";
#elif defined(ESNN_KERNELS_DSP)
    return "Arm DSP extension";
#elif defined(ESNN_KERNELS_THUMB2)
    return "packed bytes, Armv7-M";
#elif defined(ESNN_KERNELS_THUMB1)
    return "packed bytes, Armv6-M";
#elif defined(ESNN_KERNELS_RV32)
    return "packed bytes, RV32";
#elif defined(ESNN_KERNELS_HOST)
    return "vectors of this computer";
#else
    return "portable C";
#endif
}

/* so many int8 weights add up in 16 bits whatever they are */
#define EVENTS_IN_16_BITS 256u

static size_t at_most(size_t n, size_t limit) { return n < limit ? n : limit; }

void esnn_clear_portable(int32_t *current, size_t n) { memset(current, 0, n * sizeof *current); }

void esnn_dense_events_portable(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                                uint32_t shift, const uint16_t *events, size_t n_events,
                                uint32_t first) {
    const int32_t scale = (int32_t)1 << shift;
    for (size_t o = 0; o < n_out; o += ESNN_TILE) {
        const size_t outputs = at_most(n_out - o, ESNN_TILE);
        const size_t width = esnn_align((uint32_t)outputs);
        for (size_t e = 0; e < n_events;) {
            const size_t end = e + at_most(n_events - e, EVENTS_IN_16_BITS);
            int16_t sum[ESNN_TILE] = {0};
            if (width == ESNN_TILE) {
                for (; e < end; e++) {
                    const int8_t *row = weights + (events[e] - first) * ESNN_TILE;
                    for (size_t k = 0; k < ESNN_TILE; k++) {
                        sum[k] = (int16_t)(sum[k] + row[k]);
                    }
                }
            } else {
                for (; e < end; e++) {
                    const int8_t *row = weights + (events[e] - first) * width;
                    for (size_t k = 0; k < width; k++) {
                        sum[k] = (int16_t)(sum[k] + row[k]);
                    }
                }
            }
            for (size_t k = 0; k < outputs; k++) {
                current[o + k] += sum[k] * scale;
            }
        }
        weights += n_in * width;
    }
}

/* where in its tile the neuron is whose weight the low half of byte `i` of a row holds */
static size_t neuron_of_byte(size_t i, size_t words) {
    return 4u * (i / 4u) + 2u * (i % 2u) + 4u * words * (i / 2u % 2u);
}

void esnn_dense4_events_portable(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                                 uint32_t shift, const uint16_t *events, size_t n_events,
                                 uint32_t first) {
    const int32_t scale = (int32_t)1 << shift;
    const uint8_t *tile = (const uint8_t *)weights;
    for (size_t o = 0; o < n_out; o += ESNN_TILE4) {
        const size_t outputs = at_most(n_out - o, ESNN_TILE4);
        const size_t words = (outputs + 7u) / 8u;
        for (size_t e = 0; e < n_events;) {
            const size_t end = e + at_most(n_events - e, EVENTS_IN_16_BITS);
            int16_t low[ESNN_TILE4 / 2u] = {0}, high[ESNN_TILE4 / 2u] = {0};
            for (; e < end; e++) {
                const uint8_t *row = tile + (events[e] - first) * 4u * words;
                for (size_t i = 0; i < 4u * words; i++) {
                    low[i] = (int16_t)(low[i] + (row[i] & 15) - 8);
                    high[i] = (int16_t)(high[i] + (row[i] >> 4) - 8);
                }
            }
            for (size_t i = 0; i < 4u * words; i++) {
                const size_t k = neuron_of_byte(i, words);
                if (k < outputs) {
                    current[o + k] += low[i] * scale;
                }
                if (k + 1u < outputs) {
                    current[o + k + 1u] += high[i] * scale;
                }
            }
        }
        tile += n_in * 4u * words;
    }
}

void esnn_dense2_events_portable(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                                 uint32_t shift, const uint16_t *events, size_t n_events,
                                 uint32_t first) {
    const int32_t scale = (int32_t)1 << shift;
    const uint8_t *tile = (const uint8_t *)weights;
    for (size_t o = 0; o < n_out; o += ESNN_TILE2) {
        const size_t outputs = at_most(n_out - o, ESNN_TILE2);
        const size_t bytes = (outputs + 15u) / 16u * 4u;
        for (size_t e = 0; e < n_events;) {
            const size_t end = e + at_most(n_events - e, EVENTS_IN_16_BITS);
            int16_t sum[4][ESNN_TILE2 / 4u] = {{0}};
            for (; e < end; e++) {
                const uint8_t *row = tile + (events[e] - first) * bytes;
                for (size_t q = 0; q < 4; q++) {
                    for (size_t i = 0; i < bytes; i++) {
                        sum[q][i] = (int16_t)(sum[q][i] + (row[i] >> 2 * q & 3) - 2);
                    }
                }
            }
            for (size_t k = 0; k < outputs; k++) {
                current[o + k] += sum[k / 4u % 4u][k / 16u * 4u + k % 4u] * scale;
            }
        }
        tile += n_in * bytes;
    }
}

void esnn_blocks_events_portable(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                                 uint32_t shift, const uint16_t *events, size_t n_events,
                                 uint8_t *met) {
    const size_t width = esnn_align((uint32_t)n_out);
    for (size_t e = 0; e < n_events; e++) {
        if (met != NULL) {
            met[events[e] / n_in] = ESNN_MET;
        }
        const int8_t *row = weights + events[e] % n_in * width;
        int32_t *block = current + events[e] / n_in * n_out;
        for (size_t k = 0; k < n_out; k++) {
            block[k] += row[k] * ((int32_t)1 << shift);
        }
    }
}

void esnn_dense_values(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                       uint32_t shift, const int16_t *values) {
    const int32_t scale = (int32_t)1 << shift;
    for (size_t o = 0; o < n_out; o += ESNN_TILE) {
        const size_t outputs = at_most(n_out - o, ESNN_TILE);
        const size_t width = esnn_align((uint32_t)outputs);
        for (size_t j = 0; j < n_in; j++, weights += width) {
            const int32_t value = values[j] * scale;
            if (value != 0) {
                for (size_t k = 0; k < outputs; k++) {
                    current[o + k] += value * weights[k];
                }
            }
        }
    }
}

size_t esnn_lif_portable(int32_t *v, const int32_t *current, const int32_t *threshold,
                         uint32_t decay, size_t n, uint16_t *events) {
    size_t fired = 0;
    for (size_t k = 0; k < n; k++) {
        v[k] = esnn_leak(v[k], decay) + current[k];
        if (v[k] > threshold[k]) {
            events[fired++] = (uint16_t)k;
        }
    }
    return fired;
}

size_t esnn_lif_saturating_portable(int32_t *v, const int32_t *current, const int32_t *threshold,
                                    uint32_t decay, size_t n, uint16_t *events) {
    size_t fired = 0;
    for (size_t k = 0; k < n; k++) {
        v[k] = esnn_clamp(esnn_leak(v[k], decay) + current[k], ESNN_MEMBRANE_LIMIT);
        if (v[k] > threshold[k]) {
            events[fired++] = (uint16_t)k;
        }
    }
    return fired;
}

size_t esnn_lif_blocks_portable(int32_t *v, const int32_t *current, const int32_t *threshold,
                                uint32_t decay, size_t n_blocks, size_t n_out, uint8_t *met,
                                uint16_t *events) {
    size_t fired = 0;
    for (size_t b = 0, first = 0; b < n_blocks; b++, first += n_out) {
        if (met[b] == ESNN_MET) {
            size_t n = esnn_lif_portable(v + first, current + first, threshold + first, decay,
                                         n_out, events + fired);
            met[b] = n > 0 ? ESNN_MET : ESNN_DECAYS;
            for (; n > 0; n--, fired++) {
                events[fired] = (uint16_t)(events[fired] + first);
            }
        } else if (met[b] == ESNN_DECAYS && esnn_decay_portable(v + first, n_out, decay) == 0) {
            met[b] = ESNN_RESTS;
        }
    }
    return fired;
}

uint32_t esnn_decay_portable(int32_t *v, size_t n, uint32_t decay) {
    uint32_t changed = 0;
    for (size_t k = 0; k < n; k++) {
        const int32_t next = esnn_leak(v[k], decay);
        changed |= (uint32_t)next ^ (uint32_t)v[k];
        v[k] = next;
    }
    return changed;
}
