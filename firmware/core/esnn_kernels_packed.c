/* Kernels for 32-bit processors: four int8 weights are added with a few instructions.
 *
 * A word holds the weights w0 to w3 of 4 neurons. They are summed in two accumulators, even and
 * odd, of 16-bit lanes that hold any sum of up to 256 weights; a fold then adds the lanes to the
 * currents. With the DSP extension the lanes are (w0, w2) and (w1, w3), summed by SXTAB16.
 *
 * Without it the bytes are made unsigned first, u = w + 128, and
 *     even += u & 0x00ff00ff   sums   u0          + 2^16 u2
 *     odd  += u >> 8           sums   u1 + 2^8 u2 + 2^16 u3
 * which is exact modulo 2^32 whatever carries from lane to lane. Both start at minus what n times
 * 128 adds to them; the fold takes the sum of w2, once it is known, out of odd.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"

#if defined(ESNN_KERNELS_PACKED)

#define EVENTS_IN_16_BITS 256u

typedef uint32_t __attribute__((may_alias)) packed;

/* what multiplies by 2^shift: a factor, where that and an addition are one instruction */
#if defined(ESNN_KERNELS_DSP) || defined(ESNN_KERNELS_THUMB2)
#define FACTOR(shift) ((uint32_t)1 << (shift))
#else
#define FACTOR(shift) (shift)
#endif

/* the factor is one of the DSP extension's signed 16-bit operands */
#if defined(ESNN_KERNELS_DSP)
#define TILES_MAX_SHIFT 14u
#else
#define TILES_MAX_SHIFT ESNN_MAX_SHIFT
#endif

/* Whole tiles, at least one, whose currents end at `last`, for 1 to 256 events. `rows` is where the
 * first tile's row for event 0 would be, `stride` the bytes from tile to tile; even and odd are
 * what the accumulators start at (0 with the DSP extension, which does not read them). */
void esnn_tiles(const uint16_t *events, uintptr_t rows, const uint16_t *end, int32_t *current,
                size_t stride, const int32_t *last, uint32_t factor, uint32_t even, uint32_t odd);

/* esnn_lif for the neurons from v to `end`, a multiple of 4 and not none, with the decay times
 * 2^16; returns the end of what it wrote to events. */
uint16_t *esnn_lif_fours(int32_t *v, const int32_t *current, const int32_t *threshold,
                         uint32_t decay, const int32_t *end, uint16_t *events);

#if defined(ESNN_KERNELS_DSP)

static inline uint32_t even_start(size_t n) { return n & 0u; }

static inline uint32_t odd_start(size_t n) { return n & 0u; }

static inline void add_packed(uint32_t *even, uint32_t *odd, uint32_t w) {
    __asm__("sxtab16 %0, %0, %1" : "+r"(*even) : "r"(w));
    __asm__("sxtab16 %0, %0, %1, ror #8" : "+r"(*odd) : "r"(w));
}

static inline void unpack(int32_t sum[4], uint32_t even, uint32_t odd) {
    sum[0] = (int16_t)even;
    sum[1] = (int16_t)odd;
    sum[2] = (int32_t)even >> 16;
    sum[3] = (int32_t)odd >> 16;
}

#else

static inline uint32_t even_start(size_t n) { return 0u - 128u * (uint32_t)n * 0x00010001u; }

static inline uint32_t odd_start(size_t n) { return 0u - 128u * (uint32_t)n * 0x00010101u; }

static inline void add_packed(uint32_t *even, uint32_t *odd, uint32_t w) {
    w ^= 0x80808080u;
    *even += w & 0x00ff00ffu;
    *odd += w >> 8;
}

static inline void unpack(int32_t sum[4], uint32_t even, uint32_t odd) {
    sum[0] = (int16_t)even;
    sum[2] = (int32_t)(even - (uint32_t)sum[0]) >> 16;
    odd -= (uint32_t)sum[2] << 8;
    sum[1] = (int16_t)odd;
    sum[3] = (int32_t)(odd - (uint32_t)sum[1]) >> 16;
}

#endif

/* `outputs` of the 4 columns that start at `rows` in a tile `width` wide, otherwise as esnn_tiles
 */
static void columns(uintptr_t rows, const uint16_t *events, const uint16_t *end, int32_t *current,
                    size_t width, size_t outputs, uint32_t shift) {
    const size_t n = (size_t)(end - events);
    uint32_t even = even_start(n), odd = odd_start(n);
    int32_t sum[4];
    do {
        add_packed(&even, &odd, *(const packed *)(rows + *events * width));
    } while (++events != end);
    unpack(sum, even, odd);
    for (size_t k = 0; k < outputs; k++) {
        current[k] += sum[k] * ((int32_t)1 << shift);
    }
}

static size_t at_most(size_t n, size_t limit) { return n < limit ? n : limit; }

typedef struct {
    const int8_t *weights;
    size_t n_in, n_out;
    uint32_t shift, first;
} dense;

/* the neurons from number `from`, the first of a tile; kept apart so that whole tiles do not pay */
__attribute__((noinline)) static void others(const dense *d, int32_t *current, size_t from,
                                             const uint16_t *events, const uint16_t *end) {
    for (size_t o = from; o < d->n_out; o += 4u) {
        const size_t tile = o & ~(size_t)(ESNN_TILE - 1u);
        const size_t width = at_most(esnn_align((uint32_t)(d->n_out - tile)), ESNN_TILE);
        const uintptr_t rows = (uintptr_t)(d->weights + tile * d->n_in + (o - tile));
        columns(rows - d->first * width, events, end, current + o, width, at_most(d->n_out - o, 4u),
                d->shift);
    }
}

void esnn_dense_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                       uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first) {
    const uint16_t *last = events + n_events;
    const size_t whole = shift <= TILES_MAX_SHIFT ? n_out & ~(size_t)(ESNN_TILE - 1u) : 0;
    while (events != last) {
        const size_t n = at_most((size_t)(last - events), EVENTS_IN_16_BITS);
        const uint16_t *end = events + n;
        if (whole > 0) {
            const uintptr_t rows = (uintptr_t)weights - first * ESNN_TILE;
            const size_t stride = n_in * ESNN_TILE;
            esnn_tiles(events, rows, end, current, stride, current + whole, FACTOR(shift),
                       even_start(n), odd_start(n));
#if defined(ESNN_KERNELS_THUMB1)
            esnn_tiles(events, rows + 8u, end, current + 8, stride, current + whole + 8,
                       FACTOR(shift), even_start(n), odd_start(n));
#endif
        }
        if (whole < n_out) {
            const dense d = {weights, n_in, n_out, shift, first};
            others(&d, current, whole, events, end);
        }
        events = end;
    }
}

size_t esnn_lif(int32_t *v, const int32_t *current, const int32_t *threshold, uint32_t decay,
                size_t n, uint16_t *events) {
    const size_t fours = n & ~(size_t)3u;
    size_t fired = 0;
    if (fours > 0) {
        const uint16_t *end = esnn_lif_fours(v, current, threshold, decay << 16, v + fours, events);
        fired = (size_t)(end - events);
    }
    if (fours < n) {
        size_t more = esnn_lif_portable(v + fours, current + fours, threshold + fours, decay,
                                        n - fours, events + fired);
        for (; more > 0; more--, fired++) {
            events[fired] = (uint16_t)(events[fired] + fours);
        }
    }
    return fired;
}

#if defined(ESNN_KERNELS_RV32)

void esnn_clear(int32_t *current, size_t n) {
    for (; n >= 8; n -= 8, current += 8) {
        current[0] = current[1] = current[2] = current[3] = 0;
        current[4] = current[5] = current[6] = current[7] = 0;
    }
    for (; n > 0; n--) {
        *current++ = 0;
    }
}

void esnn_tiles(const uint16_t *events, uintptr_t rows, const uint16_t *end, int32_t *current,
                size_t stride, const int32_t *last, uint32_t factor, uint32_t even, uint32_t odd) {
    for (; current != last; current += ESNN_TILE, rows += stride) {
        uint32_t e0 = even, e1 = even, e2 = even, e3 = even;
        uint32_t o0 = odd, o1 = odd, o2 = odd, o3 = odd;
        const uint16_t *event = events;
        do {
            const packed *row = (const packed *)(rows + *event * ESNN_TILE);
            add_packed(&e0, &o0, row[0]);
            add_packed(&e1, &o1, row[1]);
            add_packed(&e2, &o2, row[2]);
            add_packed(&e3, &o3, row[3]);
        } while (++event != end);
        int32_t sum[ESNN_TILE];
        unpack(sum, e0, o0);
        unpack(sum + 4, e1, o1);
        unpack(sum + 8, e2, o2);
        unpack(sum + 12, e3, o3);
        for (size_t k = 0; k < ESNN_TILE; k++) {
            current[k] += sum[k] * ((int32_t)1 << factor);
        }
    }
}

/* v * decay rounded is half, rounded up, of the upper half of 2 v * (decay * 2^17) */
static inline int32_t leaked(int32_t v, uint32_t decay) {
    int32_t doubled = v * 2;
    __asm__("" : "+r"(doubled)); /* one MULHSU: gcc would move the doubling behind two products */
    const int64_t product = (int64_t)doubled * (int64_t)((uint64_t)decay * 2u);
    return ((int32_t)(product >> 32) + 1) >> 1;
}

uint16_t *esnn_lif_fours(int32_t *v, const int32_t *current, const int32_t *threshold,
                         uint32_t decay, const int32_t *end, uint16_t *events) {
    const int32_t bound = (int32_t)1 << 30;
    uint32_t first = 0;
    do {
#pragma GCC unroll 4
        for (uint32_t k = 0; k < 4; k++) {
            int32_t next = leaked(v[k], decay) + current[k];
            next = next < bound ? next : bound - 1;
            next = next >= -bound ? next : -bound;
            v[k] = next;
            if (next > threshold[k]) {
                *events++ = (uint16_t)(first + k);
            }
        }
        v += 4;
        current += 4;
        threshold += 4;
        first += 4;
    } while (v != end);
    return events;
}

#endif
#endif
