/* Kernels for computers: what their compilers turn into vector instructions, by GCC with a version
 * for AVX2 beside the one that every processor of the kind runs, picked when the program is loaded.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"

#if defined(ESNN_KERNELS_HOST)

/* not clang: before LLVM 18 a clone goes by another name than its callers call (its #71706) */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

#define EVENTS_IN_16_BITS 256u
#define LANES 8u

typedef int8_t int8x16 __attribute__((vector_size(16)));
typedef int16_t int16x16 __attribute__((vector_size(32)));
typedef int32_t int32x8 __attribute__((vector_size(32)));
typedef int64_t int64x4 __attribute__((vector_size(32)));

/* arrays begin at multiples of 4 only */
typedef int8_t int8x16_anywhere __attribute__((vector_size(16), aligned(1), may_alias));
typedef int32_t int32x8_anywhere __attribute__((vector_size(32), aligned(4), may_alias));

static size_t at_most(size_t n, size_t limit) { return n < limit ? n : limit; }

FOR_EACH_PROCESSOR
void esnn_dense_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                       uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first) {
    const int32_t scale = (int32_t)1 << shift;
    const size_t whole = n_out & ~(size_t)(ESNN_TILE - 1u);
    for (size_t o = 0; o < whole; o += ESNN_TILE, weights += n_in * ESNN_TILE) {
        for (size_t e = 0; e < n_events;) {
            const size_t end = e + at_most(n_events - e, EVENTS_IN_16_BITS);
            int16x16 sum = {0};
            for (; e < end; e++) {
                const int8_t *row = weights + (events[e] - first) * ESNN_TILE;
                const int8x16 w = *(const int8x16_anywhere *)(const void *)row;
                sum += __builtin_convertvector(w, int16x16);
            }
            for (size_t k = 0; k < ESNN_TILE; k++) {
                current[o + k] += sum[k] * scale;
            }
        }
    }
    if (whole < n_out) {
        esnn_dense_events_portable(current + whole, weights, n_in, n_out - whole, shift, events,
                                   n_events, first);
    }
}

/* esnn_leak of 8 neurons; by pointer, since passing vectors differs from processor to processor */
static inline __attribute__((always_inline)) void leak(int32x8 *x, int32_t b) {
    *x = (*x >> 15) * b + (((*x & 0x7fff) * b + (1 << 14)) >> 15);
}

static inline __attribute__((always_inline)) int any(const int32x8 *mask) {
    const int64x4 halves = (int64x4)*mask;
    return ((halves[0] | halves[1]) | (halves[2] | halves[3])) != 0;
}

/* a comparison gives all ones where it holds */
static inline __attribute__((always_inline)) void clamp(int32x8 *x, int32_t limit) {
    const int32x8 below = *x<-limit, above = *x> limit - 1;
    *x = (*x & ~(below | above)) | (below & -limit) | (above & (limit - 1));
}

static inline __attribute__((always_inline)) size_t lif(int32_t *v, const int32_t *current,
                                                        const int32_t *threshold, uint32_t decay,
                                                        size_t n, uint16_t *events, int saturates) {
    size_t fired = 0, k = 0;
    for (; k + LANES <= n; k += LANES) {
        int32x8_anywhere *at = (int32x8_anywhere *)(void *)(v + k);
        const int32x8 in = *(const int32x8_anywhere *)(const void *)(current + k);
        const int32x8 above = *(const int32x8_anywhere *)(const void *)(threshold + k);
        int32x8 next = *at;
        leak(&next, (int32_t)decay);
        next += in;
        if (saturates) {
            clamp(&next, ESNN_MEMBRANE_LIMIT);
        }
        *at = next;
        const int32x8 fires = next > above;
        if (any(&fires)) {
            for (size_t j = k; j < k + LANES; j++) {
                events[fired] = (uint16_t)j;
                fired += v[j] > threshold[j];
            }
        }
    }
    for (; k < n; k++) {
        const int32_t next = esnn_leak(v[k], decay) + current[k];
        v[k] = saturates ? esnn_clamp(next, ESNN_MEMBRANE_LIMIT) : next;
        if (v[k] > threshold[k]) {
            events[fired++] = (uint16_t)k;
        }
    }
    return fired;
}

FOR_EACH_PROCESSOR
size_t esnn_lif(int32_t *v, const int32_t *current, const int32_t *threshold, uint32_t decay,
                size_t n, uint16_t *events) {
    return lif(v, current, threshold, decay, n, events, 0);
}

FOR_EACH_PROCESSOR
size_t esnn_lif_saturating(int32_t *v, const int32_t *current, const int32_t *threshold,
                           uint32_t decay, size_t n, uint16_t *events) {
    return lif(v, current, threshold, decay, n, events, 1);
}

#endif
