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

/* what is in C here is one function with the kernel that calls it */
#if defined(ESNN_KERNELS_RV32)
#define INNER static
#else
#define INNER
#endif

static size_t at_most(size_t n, size_t limit) { return n < limit ? n : limit; }

#if !defined(ESNN_KERNELS_DSP) /* where all of it is in assembly */

/* Whole tiles, at least one, whose currents end at `last`, for 1 to 256 events. `rows` is where the
 * first tile's row for event 0 would be, `stride` the bytes from tile to tile; even and odd are
 * what the accumulators start at. */
INNER void esnn_tiles(const uint16_t *events, uintptr_t rows, const uint16_t *end, int32_t *current,
                      size_t stride, const int32_t *last, uint32_t factor, uint32_t even,
                      uint32_t odd);

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

/* adds the sums of the 4 columns of a word to as many currents as there are */
static inline void add_sums(int32_t *current, uint32_t even, uint32_t odd, size_t outputs,
                            uint32_t shift) {
    int32_t sum[4];
    unpack(sum, even, odd);
    current[0] += sum[0] * ((int32_t)1 << shift);
    if (outputs > 1) {
        current[1] += sum[1] * ((int32_t)1 << shift);
    }
    if (outputs > 2) {
        current[2] += sum[2] * ((int32_t)1 << shift);
    }
    if (outputs > 3) {
        current[3] += sum[3] * ((int32_t)1 << shift);
    }
}

/* `outputs` of the 4 columns that start at `rows` in a tile `width` wide, otherwise as esnn_tiles
 */
static void columns(uintptr_t rows, const uint16_t *events, const uint16_t *end, int32_t *current,
                    size_t width, size_t outputs, uint32_t shift) {
    const size_t n = (size_t)(end - events);
    uint32_t even = even_start(n), odd = odd_start(n);
    do {
        add_packed(&even, &odd, *(const packed *)(rows + *events * width));
    } while (++events != end);
    add_sums(current, even, odd, outputs, shift);
}

/* the same of 5 to 8 columns: the low registers of Armv6-M are too few for them */
#if !defined(ESNN_KERNELS_THUMB1)
static void columns8(uintptr_t rows, const uint16_t *events, const uint16_t *end, int32_t *current,
                     size_t width, size_t outputs, uint32_t shift) {
    const size_t n = (size_t)(end - events);
    uint32_t e0 = even_start(n), o0 = odd_start(n), e1 = e0, o1 = o0;
    do {
        const packed *row = (const packed *)(rows + *events * width);
        add_packed(&e0, &o0, row[0]);
        add_packed(&e1, &o1, row[1]);
    } while (++events != end);
    add_sums(current, e0, o0, 4, shift);
    add_sums(current + 4, e1, o1, outputs - 4u, shift);
}
#endif

/* as `columns` of a whole tile less than 16 wide; kept apart so that whole tiles do not pay */
__attribute__((noinline)) static void last_tile(uintptr_t rows, const uint16_t *events,
                                                const uint16_t *end, int32_t *current, size_t width,
                                                size_t outputs, uint32_t shift) {
#if !defined(ESNN_KERNELS_THUMB1)
    for (; outputs > 4u; outputs -= 8u, rows += 8u, current += 8) {
        columns8(rows, events, end, current, width, at_most(outputs, 8u), shift);
        if (outputs <= 8u) {
            return;
        }
    }
    columns(rows, events, end, current, width, outputs, shift);
#else
    for (size_t o = 0; o < outputs; o += 4u) {
        columns(rows + o, events, end, current + o, width, at_most(outputs - o, 4u), shift);
    }
#endif
}

void esnn_dense_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                       uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first) {
    const uint16_t *last = events + n_events;
    const size_t whole = n_out & ~(size_t)(ESNN_TILE - 1u), rest = n_out - whole;
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
        if (rest > 0) {
            const size_t width = esnn_align((uint32_t)rest);
            last_tile((uintptr_t)(weights + whole * n_in) - first * width, events, end,
                      current + whole, width, rest, shift);
        }
        events = end;
    }
}

#endif

/* Weights of 4 bits, codes of 0 to 15. For the 8 of a word
 *     all  += w                        sums both halves of each byte, modulo 2^32
 *     high += (w & 0xf0f0f0f0) >> 4    sums the high halves, in bytes that hold 17 of them,
 * and all - 16 high is then the sums of the low halves, exactly. A fold adds the bytes of both to
 * 16-bit lanes, even and odd as above, which start at minus what n times 8 adds to them. */
#define EVENTS_IN_A_BYTE4 17u
#define EVENTS_IN_LANES 4096u
#define HIGH_HALVES 0xf0f0f0f0u

/* As esnn_tiles, with 4-bit weights, for 1 to 4096 events; even and odd are what the lanes start
 * at. */
INNER void esnn_tiles4(const uint16_t *events, uintptr_t rows, const uint16_t *end,
                       int32_t *current, size_t stride, const int32_t *last, uint32_t factor,
                       uint32_t even, uint32_t odd);

#if defined(ESNN_KERNELS_DSP)

static inline uint32_t even_lanes(uint32_t excess) { return ((0u - excess) & 0xffffu) * 0x10001u; }

static inline uint32_t odd_lanes(uint32_t excess) { return even_lanes(excess); }

#else

static inline uint32_t even_lanes(uint32_t excess) { return 0u - excess * 0x00010001u; }

static inline uint32_t odd_lanes(uint32_t excess) { return 0u - excess * 0x00010101u; }

#endif

/* the lowest byte of a word of sums of codes, less what the codes are more than the weights */
static inline int32_t code_sum(uint32_t bytes, size_t excess, uint32_t shift) {
    return ((int32_t)(bytes & 0xffu) - (int32_t)excess) * ((int32_t)1 << shift);
}

/* the 8 columns of the word at `rows` in a tile whose rows have `words` */
static void columns4(uintptr_t rows, const uint16_t *events, const uint16_t *end, int32_t *current,
                     size_t words, size_t outputs, uint32_t shift) {
    do {
        const size_t n = at_most((size_t)(end - events), EVENTS_IN_A_BYTE4);
        const uint16_t *until = events + n;
        uint32_t low = 0, high = 0;
        do {
            const uint32_t w = *(const packed *)(rows + *events * words * 4u);
            low += w;
            high += (w & HIGH_HALVES) >> 4;
        } while (++events != until);
        low -= high << 4;
        for (size_t i = 0; i < 4u; i++, low >>= 8, high >>= 8) {
            const size_t k = 2u * (i & 1u) + 4u * words * (i >> 1);
            if (k < outputs) {
                current[k] += code_sum(low, 8u * n, shift);
            }
            if (k + 1u < outputs) {
                current[k + 1u] += code_sum(high, 8u * n, shift);
            }
        }
    } while (events != end);
}

/* as the kernel, without whole tiles; kept apart so that these do not pay */
ESNN_APART static void others4(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                               uint32_t shift, const uint16_t *events, size_t n_events,
                               uint32_t first) {
    for (size_t tile = 0; tile < n_out; tile += ESNN_TILE4) {
        const size_t outputs = at_most(n_out - tile, ESNN_TILE4);
        const size_t words = (outputs + 7u) / 8u;
        const uintptr_t rows = (uintptr_t)weights + tile / 2u * n_in - first * words * 4u;
        for (size_t j = 0; j < words; j++) {
            columns4(rows + 4u * j, events, events + n_events, current + tile + 4u * j, words,
                     outputs - 4u * j, shift);
        }
    }
}

void esnn_dense4_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                        uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first) {
    const size_t whole = shift <= TILES_MAX_SHIFT ? n_out & ~(size_t)(ESNN_TILE4 - 1u) : 0;
    const uint16_t *last = events + n_events;
    for (const uint16_t *event = events; whole > 0 && event != last;) {
        const size_t n = at_most((size_t)(last - event), EVENTS_IN_LANES);
        const uint32_t excess = 8u * (uint32_t)n;
        esnn_tiles4(event, (uintptr_t)weights - first * 16u, event + n, current, n_in * 16u,
                    current + whole, FACTOR(shift), even_lanes(excess), odd_lanes(excess));
        event += n;
    }
    if (whole < n_out && n_events > 0) {
        others4(current + whole, weights + whole / 2u * n_in, n_in, n_out - whole, shift, events,
                n_events, first);
    }
}

/* Weights of 2 bits, codes of 0 to 3, of which bytes hold the sums of 85: for the 16 of a word
 *     all += w    c1 += w >> 2 & 0x03030303    c2 and c3 alike
 * and all - 4 c1 - 16 c2 - 64 c3, modulo 2^32, is the sums of the lowest codes. */
#define EVENTS_IN_A_BYTE2 85u
#define LOWEST_CODES 0x03030303u

/* As esnn_tiles, with 2-bit weights, for any number of events but none. Four words do not leave
 * registers for four sums each: with all += w and odd += w >> 2 & 0x33333333, whose halves of bytes
 * hold 5 events, there are two, which go on to bytes as weights of 4 bits do. */
void esnn_tiles2(const uint16_t *events, uintptr_t rows, const uint16_t *end, int32_t *current,
                 size_t stride, const int32_t *last, uint32_t factor);

#if defined(ESNN_KERNELS_RV32)

static inline void add_bytes(uint32_t *even, uint32_t *odd, uint32_t bytes) {
    *even += bytes & 0x00ff00ffu;
    *odd += bytes >> 8;
}

/* The 16 columns of the word at `rows` in a tile whose rows have `bytes`. Here all columns are
 * summed so: lanes, which are unpacked only once, pay. For 1 to 4096 events. */
static void columns2(uintptr_t rows, const uint16_t *events, const uint16_t *end, int32_t *current,
                     size_t bytes, size_t outputs, uint32_t shift) {
    const uint32_t excess = 2u * (uint32_t)(end - events);
    uint32_t mask = LOWEST_CODES, even[4], odd[4];
    __asm__("" : "+r"(mask)); /* in a register: only then a shift comes free with it */
    for (size_t q = 0; q < 4; q++) {
        even[q] = even_lanes(excess);
        odd[q] = odd_lanes(excess);
    }
    do {
        const uint16_t *until = events + at_most((size_t)(end - events), EVENTS_IN_A_BYTE2);
        uint32_t all = 0, c1 = 0, c2 = 0, c3 = 0;
        do {
            const uint32_t w = *(const packed *)(rows + *events * bytes);
            all += w;
            c1 += (w >> 2) & mask;
            c2 += (w >> 4) & mask;
            c3 += (w >> 6) & mask;
        } while (++events != until);
        add_bytes(&even[0], &odd[0], all - (c1 << 2) - (c2 << 4) - (c3 << 6));
        add_bytes(&even[1], &odd[1], c1);
        add_bytes(&even[2], &odd[2], c2);
        add_bytes(&even[3], &odd[3], c3);
    } while (events != end);
    for (size_t q = 0; q < 4; q++, current += 4) {
        int32_t sum[4];
        unpack(sum, even[q], odd[q]);
        if (4 * q + 4 <= outputs) {
            current[0] += sum[0] * ((int32_t)1 << shift);
            current[1] += sum[1] * ((int32_t)1 << shift);
            current[2] += sum[2] * ((int32_t)1 << shift);
            current[3] += sum[3] * ((int32_t)1 << shift);
        } else {
            for (size_t i = 0; 4 * q + i < outputs; i++) {
                current[i] += sum[i] * ((int32_t)1 << shift);
            }
        }
    }
}

#else

/* the 16 columns of the word at `rows` in a tile whose rows have `bytes` */
static void columns2(uintptr_t rows, const uint16_t *events, const uint16_t *end, int32_t *current,
                     size_t bytes, size_t outputs, uint32_t shift) {
    uint32_t mask = LOWEST_CODES;
    __asm__("" : "+r"(mask)); /* in a register: only then a shift comes free with it */
    do {
        const size_t n = at_most((size_t)(end - events), EVENTS_IN_A_BYTE2);
        const uint16_t *until = events + n;
        uint32_t sum[4] = {0, 0, 0, 0};
        uint32_t all = 0, c1 = 0, c2 = 0, c3 = 0;
        do {
            const uint32_t w = *(const packed *)(rows + *events * bytes);
            all += w;
            c1 += (w >> 2) & mask;
            c2 += (w >> 4) & mask;
            c3 += (w >> 6) & mask;
        } while (++events != until);
        sum[0] = all - (c1 << 2) - (c2 << 4) - (c3 << 6);
        sum[1] = c1;
        sum[2] = c2;
        sum[3] = c3;
        for (size_t k = 0; k < outputs; k++) {
            current[k] += code_sum(sum[k / 4u] >> 8u * (k % 4u), 2u * n, shift);
        }
    } while (events != end);
}

#endif

/* as others4 */
ESNN_APART static void others2(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                               uint32_t shift, const uint16_t *events, size_t n_events,
                               uint32_t first) {
    for (size_t o = 0; o < n_out; o += 16u) {
        const size_t tile = o & ~(size_t)(ESNN_TILE2 - 1u);
        const size_t bytes = (at_most(n_out - tile, ESNN_TILE2) + 15u) / 16u * 4u;
        const uintptr_t rows = (uintptr_t)weights + tile / 4u * n_in + (o - tile) / 4u;
        for (size_t e = 0; e < n_events; e += EVENTS_IN_LANES) {
            columns2(rows - first * bytes, events + e,
                     events + e + at_most(n_events - e, EVENTS_IN_LANES), current + o, bytes,
                     at_most(n_out - o, 16u), shift);
        }
    }
}

void esnn_dense2_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                        uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first) {
    size_t whole = 0;
#if !defined(ESNN_KERNELS_RV32)
    whole = shift <= TILES_MAX_SHIFT && n_events > 0 ? n_out & ~(size_t)(ESNN_TILE2 - 1u) : 0;
    if (whole > 0) {
        esnn_tiles2(events, (uintptr_t)weights - first * 16u, events + n_events, current,
                    n_in * 16u, current + whole, FACTOR(shift));
    }
#endif
    if (whole < n_out) {
        others2(current + whole, weights + whole / 4u * n_in, n_in, n_out - whole, shift, events,
                n_events, first);
    }
}

#if defined(ESNN_KERNELS_THUMB1) || defined(ESNN_KERNELS_RV32)

/* of n <= 16 neurons; offsets of loads and stores are constants here */
static inline void add_row(int32_t *current, const int8_t *row, size_t n, uint32_t shift) {
#define ADD(k) current[k] += row[k] * ((int32_t)1 << shift);
    switch (n) {
    case 16:
        ADD(15)
        /* fall through */
    case 15:
        ADD(14)
        /* fall through */
    case 14:
        ADD(13)
        /* fall through */
    case 13:
        ADD(12)
        /* fall through */
    case 12:
        ADD(11)
        /* fall through */
    case 11:
        ADD(10)
        /* fall through */
    case 10:
        ADD(9)
        /* fall through */
    case 9:
        ADD(8)
        /* fall through */
    case 8:
        ADD(7)
        /* fall through */
    case 7:
        ADD(6)
        /* fall through */
    case 6:
        ADD(5)
        /* fall through */
    case 5:
        ADD(4)
        /* fall through */
    case 4:
        ADD(3)
        /* fall through */
    case 3:
        ADD(2)
        /* fall through */
    case 2:
        ADD(1)
        /* fall through */
    case 1:
        ADD(0)
        break;
    default:
        break;
    }
#undef ADD
}

/* kept apart: there are few registers */
__attribute__((noinline)) static void mark(uint8_t *met, size_t n_in, const uint16_t *events,
                                           size_t n_events) {
    size_t end = n_in;
    for (const uint16_t *last = events + n_events; events != last; events++) {
        for (; *events >= end; end += n_in) {
            met++;
        }
        *met = ESNN_MET;
    }
}

void esnn_blocks_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                        uint32_t shift, const uint16_t *events, size_t n_events, uint8_t *met) {
    const size_t width = esnn_align((uint32_t)n_out);
    size_t end = n_in; /* the first neuron of the next block */
    if (met != NULL) {
        mark(met, n_in, events, n_events);
    }
    for (const uint16_t *last = events + n_events; events != last; events++) {
        const size_t event = *events;
        for (; event >= end; end += n_in) {
            current += n_out;
        }
        add_row(current, weights + (n_in + event - end) * width, n_out, shift);
    }
}

#endif

/* one membrane without input */
#if defined(ESNN_KERNELS_DSP)

static inline int32_t decayed(int32_t v, uint32_t decay) {
    __asm__("smmulr %0, %1, %2" : "=r"(v) : "r"(v * 2), "r"(decay << 16));
    return v;
}

#elif defined(ESNN_KERNELS_THUMB2)

static inline int32_t decayed(int32_t v, uint32_t decay) {
    return (int32_t)(((int64_t)(v * 2) * (int32_t)(decay << 16) + ((int64_t)1 << 31)) >> 32);
}

#elif defined(ESNN_KERNELS_RV32)

/* v * decay rounded is half, rounded up, of the upper half of 2 v * (decay * 2^17) */
static inline int32_t decayed(int32_t v, uint32_t decay) {
    int32_t doubled = v * 2;
    __asm__("" : "+r"(doubled)); /* one MULHSU: gcc would move the doubling behind two products */
    const int64_t product = (int64_t)doubled * (int64_t)((uint64_t)decay << 17);
    return ((int32_t)(product >> 32) + 1) >> 1;
}

#else

static inline int32_t decayed(int32_t v, uint32_t decay) { return esnn_leak(v, decay); }

#endif

#if !defined(ESNN_KERNELS_DSP)

/* esnn_lif and esnn_lif_saturating for the neurons from v to `end`, a multiple of 4 and not none,
 * with the decay times 2^16; return the end of what they wrote to events. */
typedef uint16_t *lif_fours(int32_t *v, const int32_t *current, const int32_t *threshold,
                            uint32_t decay, const int32_t *end, uint16_t *events);
lif_fours esnn_lif_fours, esnn_lif_saturating_fours;

/* The neurons behind the last four, kept apart so that whole fours do not pay; all that spiked.
 * They saturate always: where nothing can overflow that changes nothing. */
__attribute__((noinline)) static size_t last_of_lif(int32_t *v, const int32_t *current,
                                                    const int32_t *threshold, uint32_t decay,
                                                    size_t n, uint16_t *events, size_t fired) {
    for (size_t k = n & ~(size_t)3u; k < n; k++) {
        v[k] = esnn_clamp(decayed(v[k], decay) + current[k], ESNN_MEMBRANE_LIMIT);
        if (v[k] > threshold[k]) {
            events[fired++] = (uint16_t)k;
        }
    }
    return fired;
}

static inline size_t run_lif(lif_fours *fast, int32_t *v, const int32_t *current,
                             const int32_t *threshold, uint32_t decay, size_t n, uint16_t *events) {
    const size_t fours = n & ~(size_t)3u;
    size_t fired = 0;
    if (fours > 0) {
        fired = (size_t)(fast(v, current, threshold, decay << 16, v + fours, events) - events);
    }
    return fours == n ? fired : last_of_lif(v, current, threshold, decay, n, events, fired);
}

size_t esnn_lif(int32_t *v, const int32_t *current, const int32_t *threshold, uint32_t decay,
                size_t n, uint16_t *events) {
    return run_lif(esnn_lif_fours, v, current, threshold, decay, n, events);
}

size_t esnn_lif_saturating(int32_t *v, const int32_t *current, const int32_t *threshold,
                           uint32_t decay, size_t n, uint16_t *events) {
    return run_lif(esnn_lif_saturating_fours, v, current, threshold, decay, n, events);
}

static uint16_t *update(int32_t *v, const int32_t *current, const int32_t *threshold,
                        uint32_t decay, size_t first, size_t n, uint16_t *events) {
    for (const size_t end = first + n; first != end; first++) {
        const int32_t next = decayed(*v, decay) + *current++;
        *v++ = next;
        if (next > *threshold++) {
            *events++ = (uint16_t)first;
        }
    }
    return events;
}

size_t esnn_lif_blocks(int32_t *v, const int32_t *current, const int32_t *threshold, uint32_t decay,
                       size_t n_blocks, size_t n_out, uint8_t *met, uint16_t *events) {
    uint16_t *end = events;
    size_t first = 0;
    for (const uint8_t *last = met + n_blocks; met != last; met++, first += n_out) {
        if (*met == ESNN_MET) {
            uint16_t *before = end;
            end = update(v + first, current + first, threshold + first, decay, first, n_out, end);
            *met = end != before ? ESNN_MET : ESNN_DECAYS;
        } else if (*met == ESNN_DECAYS && esnn_decay(v + first, n_out, decay) == 0) {
            *met = ESNN_RESTS;
        }
    }
    return (size_t)(end - events);
}

#endif

#if !defined(ESNN_KERNELS_THUMB1)

uint32_t esnn_decay(int32_t *v, size_t n, uint32_t decay) {
    const int32_t *end = v + (n & ~(size_t)3u), *last = v + n;
    uint32_t changed = 0;
    for (; v != end; v += 4) {
#pragma GCC unroll 4
        for (size_t k = 0; k < 4; k++) {
            const int32_t next = decayed(v[k], decay);
            changed |= (uint32_t)next ^ (uint32_t)v[k];
            v[k] = next;
        }
    }
    for (; v != last; v++) {
        const int32_t next = decayed(*v, decay);
        changed |= (uint32_t)next ^ (uint32_t)*v;
        *v = next;
    }
    return changed;
}

#endif

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

INNER void esnn_tiles(const uint16_t *events, uintptr_t rows, const uint16_t *end, int32_t *current,
                      size_t stride, const int32_t *last, uint32_t factor, uint32_t even,
                      uint32_t odd) {
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

INNER void esnn_tiles4(const uint16_t *events, uintptr_t rows, const uint16_t *end,
                       int32_t *current, size_t stride, const int32_t *last, uint32_t factor,
                       uint32_t even, uint32_t odd) {
    for (; current != last; current += ESNN_TILE4, rows += stride) {
        uint32_t lanes[16];
        const uint16_t *event = events;
        for (size_t k = 0; k < 16; k += 4) {
            lanes[k] = lanes[k + 2] = even;
            lanes[k + 1] = lanes[k + 3] = odd;
        }
        do {
            const uint16_t *until = event + at_most((size_t)(end - event), EVENTS_IN_A_BYTE4);
            uint32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0, h0 = 0, h1 = 0, h2 = 0, h3 = 0;
            do {
                const packed *row = (const packed *)(rows + *event * 16u);
                a0 += row[0];
                h0 += (row[0] & HIGH_HALVES) >> 4;
                a1 += row[1];
                h1 += (row[1] & HIGH_HALVES) >> 4;
                a2 += row[2];
                h2 += (row[2] & HIGH_HALVES) >> 4;
                a3 += row[3];
                h3 += (row[3] & HIGH_HALVES) >> 4;
            } while (++event != until);
            add_bytes(&lanes[0], &lanes[1], a0 - (h0 << 4));
            add_bytes(&lanes[2], &lanes[3], h0);
            add_bytes(&lanes[4], &lanes[5], a1 - (h1 << 4));
            add_bytes(&lanes[6], &lanes[7], h1);
            add_bytes(&lanes[8], &lanes[9], a2 - (h2 << 4));
            add_bytes(&lanes[10], &lanes[11], h2);
            add_bytes(&lanes[12], &lanes[13], a3 - (h3 << 4));
            add_bytes(&lanes[14], &lanes[15], h3);
        } while (event != end);
        for (size_t j = 0; j < 16; j += 4) {
            int32_t low[4], high[4];
            int32_t *c = current + j;
            unpack(low, lanes[j], lanes[j + 1]);
            unpack(high, lanes[j + 2], lanes[j + 3]);
            c[0] += low[0] * ((int32_t)1 << factor);
            c[1] += high[0] * ((int32_t)1 << factor);
            c[2] += low[1] * ((int32_t)1 << factor);
            c[3] += high[1] * ((int32_t)1 << factor);
            c[16] += low[2] * ((int32_t)1 << factor);
            c[17] += high[2] * ((int32_t)1 << factor);
            c[18] += low[3] * ((int32_t)1 << factor);
            c[19] += high[3] * ((int32_t)1 << factor);
        }
    }
}

static inline uint16_t *fours(int32_t *v, const int32_t *current, const int32_t *threshold,
                              uint32_t decay, const int32_t *end, uint16_t *events, int saturate) {
    const int32_t bound = (int32_t)1 << 30;
    uint32_t first = 0;
    do {
#pragma GCC unroll 4
        for (uint32_t k = 0; k < 4; k++) {
            int32_t next = decayed(v[k], decay >> 16) + current[k];
            if (saturate) {
                next = next < bound ? next : bound - 1;
                next = next >= -bound ? next : -bound;
            }
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

uint16_t *esnn_lif_fours(int32_t *v, const int32_t *current, const int32_t *threshold,
                         uint32_t decay, const int32_t *end, uint16_t *events) {
    return fours(v, current, threshold, decay, end, events, 0);
}

uint16_t *esnn_lif_saturating_fours(int32_t *v, const int32_t *current, const int32_t *threshold,
                                    uint32_t decay, const int32_t *end, uint16_t *events) {
    return fours(v, current, threshold, decay, end, events, 1);
}

#endif
#endif
