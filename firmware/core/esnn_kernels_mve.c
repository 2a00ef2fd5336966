/* Kernels for Helium, the vector extension of Cortex-M55 and M85. Whoever starts the program has
 * switched it on (CPACR) before anything here runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"

#if defined(ESNN_KERNELS_MVE)

#include <arm_mve.h>

#define EVENTS_IN_16_BITS 256u
#define PAIR (2u * ESNN_TILE)

void esnn_clear(int32_t *current, size_t n) {
    const int32x4_t zero = vdupq_n_s32(0);
    for (; n >= 16; n -= 16, current += 16) {
        vst1q_s32(current, zero);
        vst1q_s32(current + 4, zero);
        vst1q_s32(current + 8, zero);
        vst1q_s32(current + 12, zero);
    }
    for (; n > 0; n--) {
        *current++ = 0;
    }
}

/* Whole tiles, an even number of them and not none, whose currents end at `last`, for 1 to 256
 * events. `rows` is where the first tile's row for event 0 would be, `stride` the bytes from tile
 * to tile. */
void esnn_tile_pairs(const uint16_t *events, uintptr_t rows, const uint16_t *end, int32_t *current,
                     size_t stride, const int32_t *last, int32_t factor);

/* Registers: r0 events, r1 and r8 rows of both tiles, r2 event, r3 current, r4 stride, r5 last, r6
 * and r7 row, r9 factor, r10 number of events, q0 to q3 sums. */
__asm__(".syntax unified\n"
        ".section .text.esnn_tile_pairs,\"ax\",%progbits\n"
        ".macro fold sum\n"
        "    vld20.32 {q4, q5}, [r3]\n"
        "    vld21.32 {q4, q5}, [r3]\n"
        "    vmovlb.s16 q6, \\sum\n"
        "    vmovlt.s16 q7, \\sum\n"
        "    vmla.s32 q4, q6, r9\n"
        "    vmla.s32 q5, q7, r9\n"
        "    vst20.32 {q4, q5}, [r3]\n"
        "    vst21.32 {q4, q5}, [r3]!\n"
        ".endm\n"
        ".balign 4\n"
        ".global esnn_tile_pairs\n"
        ".thumb_func\n"
        ".type esnn_tile_pairs, %function\n"
        "esnn_tile_pairs:\n"
        "    push {r4-r10, lr}\n"
        "    vpush {d8-d15}\n"
        "    ldrd r4, r5, [sp, #96]\n"
        "    ldr r9, [sp, #104]\n"
        "    sub r10, r2, r0\n"
        "    lsr r10, r10, #1\n"
        "1:\n"
        "    mov r2, r0\n"
        "    add r8, r1, r4\n"
        "    vmov.i32 q0, #0\n"
        "    vmov.i32 q1, #0\n"
        "    vmov.i32 q2, #0\n"
        "    vmov.i32 q3, #0\n"
        "    dls lr, r10\n"
        "2:\n"
        "    ldrh r7, [r2], #2\n"
        "    add r6, r1, r7, lsl #4\n"
        "    add r7, r8, r7, lsl #4\n"
        "    vldrb.s16 q4, [r6]\n"
        "    vldrb.s16 q5, [r6, #8]\n"
        "    vadd.i16 q0, q0, q4\n"
        "    vldrb.s16 q6, [r7]\n"
        "    vadd.i16 q1, q1, q5\n"
        "    vldrb.s16 q7, [r7, #8]\n"
        "    vadd.i16 q2, q2, q6\n"
        "    vadd.i16 q3, q3, q7\n"
        "    le lr, 2b\n"
        "    fold q0\n"
        "    fold q1\n"
        "    fold q2\n"
        "    fold q3\n"
        "    add r1, r8, r4\n"
        "    cmp r3, r5\n"
        "    bne 1b\n"
        "    vpop {d8-d15}\n"
        "    pop {r4-r10, pc}\n"
        ".size esnn_tile_pairs, . - esnn_tile_pairs\n"
        ".text\n");

/* `outputs` of 8 columns that start at `rows` in a tile `width` wide, otherwise as above */
static void columns(const uint16_t *events, uintptr_t rows, const uint16_t *end, int32_t *current,
                    size_t width, size_t outputs, int32_t factor) {
    const mve_pred16_t wanted = vctp16q((uint32_t)outputs);
    int16x8_t sums = vdupq_n_s16(0);
    int16_t sum[8];
    do {
        const int8_t *row = (const int8_t *)(rows + *events * width);
        sums = vaddq_s16(sums, vldrbq_z_s16(row, wanted));
    } while (++events != end);
    vst1q_s16(sum, sums);
    for (size_t k = 0; k < outputs; k++) {
        current[k] += sum[k] * factor;
    }
}

static size_t at_most(size_t n, size_t limit) { return n < limit ? n : limit; }

void esnn_dense_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                       uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first) {
    const uint16_t *last = events + n_events;
    const size_t whole = n_out & ~(size_t)(PAIR - 1u);
    const int32_t factor = (int32_t)1 << shift;
    while (events != last) {
        const uint16_t *end = events + at_most((size_t)(last - events), EVENTS_IN_16_BITS);
        if (whole > 0) {
            esnn_tile_pairs(events, (uintptr_t)weights - first * ESNN_TILE, end, current,
                            n_in * ESNN_TILE, current + whole, factor);
        }
        for (size_t o = whole; o < n_out; o += 8u) {
            const size_t tile = o & ~(size_t)(ESNN_TILE - 1u);
            const size_t width = at_most(esnn_align((uint32_t)(n_out - tile)), ESNN_TILE);
            columns(events, (uintptr_t)(weights + tile * n_in + (o - tile)) - first * width, end,
                    current + o, width, at_most(n_out - o, 8u), factor);
        }
        events = end;
    }
}

/* Weights of 4 bits, codes of 0 to 15: the bytes are summed modulo 256, and so are their high
 * halves, of which a byte holds 17; all - 16 high is then the sum of the low halves. A fold adds
 * even and odd bytes to 16-bit lanes, which start at minus what n times 8 adds to them. */
#define EVENTS_IN_A_BYTE4 17u
#define EVENTS_IN_LANES 4096u

/* Whole tiles, at least one, whose currents end at `last`, for 1 to 4096 events; rows and stride as
 * above. `start` is what the lanes start at. */
void esnn_tiles4(const uint16_t *events, uintptr_t rows, const uint16_t *end, int32_t *current,
                 size_t stride, const int32_t *last, int32_t factor, uint32_t start);

/* Registers: r0 events, r1 rows, r2 end, r3 current, r4 stride, r5 last, r6 row, r7 turns, r8
 * event, r9 factor, r10 start, r11 -16, q0 sums of all, q1 of high halves, q2 weights, q4 to q7
 * lanes: even and odd of the low halves between those of the high. Stack: 0 the last of them. */
__asm__(".syntax unified\n"
        ".section .text.esnn_tiles4,\"ax\",%progbits\n"
        ".macro event4\n"
        "    ldrh r6, [r8], #2\n"
        "    add r6, r1, r6, lsl #4\n"
        "    vldrb.u8 q2, [r6]\n"
        "    vadd.i8 q0, q0, q2\n"
        "    vshr.u8 q2, q2, #4\n"
        "    vadd.i8 q1, q1, q2\n"
        ".endm\n"
        ".macro widen4 even odd sum\n"
        "    vmovlb.u8 q2, \\sum\n"
        "    vadd.i16 \\even, \\even, q2\n"
        "    vmovlt.u8 q2, \\sum\n"
        "    vadd.i16 \\odd, \\odd, q2\n"
        ".endm\n"
        ".macro load4\n"
        "    vld40.32 {q0, q1, q2, q3}, [r3]\n"
        "    vld41.32 {q0, q1, q2, q3}, [r3]\n"
        "    vld42.32 {q0, q1, q2, q3}, [r3]\n"
        "    vld43.32 {q0, q1, q2, q3}, [r3]\n"
        ".endm\n"
        ".macro store4\n"
        "    vst40.32 {q0, q1, q2, q3}, [r3]\n"
        "    vst41.32 {q0, q1, q2, q3}, [r3]\n"
        "    vst42.32 {q0, q1, q2, q3}, [r3]\n"
        "    vst43.32 {q0, q1, q2, q3}, [r3]!\n"
        ".endm\n"
        ".balign 4\n"
        ".global esnn_tiles4\n"
        ".thumb_func\n"
        ".type esnn_tiles4, %function\n"
        "esnn_tiles4:\n"
        "    push {r4-r11, lr}\n"
        "    vpush {d8-d15}\n"
        "    ldrd r4, r5, [sp, #100]\n"
        "    ldrd r9, r10, [sp, #108]\n"
        "    mvn r11, #15\n"
        "    sub sp, sp, #16\n"
        "1:\n"
        "    mov r8, r0\n"
        "    vdup.16 q4, r10\n"
        "    vdup.16 q5, r10\n"
        "    vdup.16 q6, r10\n"
        "    vdup.16 q7, r10\n"
        "2:\n"
        "    ldrh r6, [r8], #2\n"
        "    add r6, r1, r6, lsl #4\n"
        "    vldrb.u8 q0, [r6]\n"
        "    vshr.u8 q1, q0, #4\n"
        "    sub r6, r2, r8\n"
        "    cmp r6, #32\n"
        "    it hi\n"
        "    movhi r6, #32\n"
        "    add r7, r6, #6\n"
        "    lsrs r7, r7, #3\n" /* how many fours are begun by those that are left */
        "    beq 7f\n"
        "    dls lr, r7\n"
        "    ubfx r6, r6, #1, #2\n"
        "    tbb [pc, r6]\n"
        "8:\n"
        ".byte (3f - 8b) / 2, (6f - 8b) / 2, (5f - 8b) / 2, (4f - 8b) / 2\n"
        "3:\n"
        "    event4\n"
        "4:\n"
        "    event4\n"
        "5:\n"
        "    event4\n"
        "6:\n"
        "    event4\n"
        "    le lr, 3b\n"
        "7:\n"
        "    vmla.s8 q0, q1, r11\n"
        "    widen4 q4, q6, q0\n"
        "    widen4 q5, q7, q1\n"
        "    cmp r8, r2\n"
        "    bne 2b\n"
        "    vstrw.32 q7, [sp]\n"
        "    load4\n"
        "    vmovlb.s16 q7, q4\n"
        "    vmla.s32 q0, q7, r9\n"
        "    vmovlb.s16 q7, q5\n"
        "    vmla.s32 q1, q7, r9\n"
        "    vmovlb.s16 q7, q6\n"
        "    vmla.s32 q2, q7, r9\n"
        "    vldrw.32 q7, [sp]\n"
        "    vmovlb.s16 q7, q7\n"
        "    vmla.s32 q3, q7, r9\n"
        "    store4\n"
        "    load4\n"
        "    vmovlt.s16 q4, q4\n"
        "    vmla.s32 q0, q4, r9\n"
        "    vmovlt.s16 q5, q5\n"
        "    vmla.s32 q1, q5, r9\n"
        "    vmovlt.s16 q6, q6\n"
        "    vmla.s32 q2, q6, r9\n"
        "    vldrw.32 q7, [sp]\n"
        "    vmovlt.s16 q7, q7\n"
        "    vmla.s32 q3, q7, r9\n"
        "    store4\n"
        "    add r1, r1, r4\n"
        "    cmp r3, r5\n"
        "    bne 1b\n"
        "    add sp, sp, #16\n"
        "    vpop {d8-d15}\n"
        "    pop {r4-r11, pc}\n"
        ".size esnn_tiles4, . - esnn_tiles4\n"
        ".text\n");

/* a last tile, whose rows have `words` words, otherwise as above */
ESNN_APART static void narrow4(const uint16_t *events, uintptr_t rows, const uint16_t *end,
                               int32_t *current, size_t words, size_t outputs, int32_t factor) {
    const mve_pred16_t wanted = vctp8q(4u * (uint32_t)words);
    const uint16x8_t start = vdupq_n_u16((uint16_t)(0u - 8u * (uint32_t)(end - events)));
    uint16x8_t lanes[4] = {start, start, start, start};
    int16_t sum[4][8];
    do {
        const uint16_t *until = events + at_most((size_t)(end - events), EVENTS_IN_A_BYTE4);
        uint8x16_t all = vdupq_n_u8(0), high = all;
        do {
            const uint8_t *row = (const uint8_t *)(rows + *events * words * 4u);
            const uint8x16_t w = vldrbq_z_u8(row, wanted);
            all = vaddq_u8(all, w);
            high = vaddq_u8(high, vshrq_n_u8(w, 4));
        } while (++events != until);
        all = vsubq_u8(all, vshlq_n_u8(high, 4));
        lanes[0] = vaddq_u16(lanes[0], vmovlbq_u8(all));
        lanes[1] = vaddq_u16(lanes[1], vmovlbq_u8(high));
        lanes[2] = vaddq_u16(lanes[2], vmovltq_u8(all));
        lanes[3] = vaddq_u16(lanes[3], vmovltq_u8(high));
    } while (events != end);
    for (size_t k = 0; k < 4u; k++) {
        vst1q_s16(sum[k], vreinterpretq_s16_u16(lanes[k]));
    }
    for (size_t k = 0; k < outputs; k++) {
        const size_t upper = k >= 4u * words;
        const size_t j = k / 4u - upper * words;
        current[k] += sum[k % 4u][2u * j + upper] * factor;
    }
}

void esnn_dense4_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                        uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first) {
    const uint16_t *last = events + n_events;
    const size_t whole = n_out & ~(size_t)(ESNN_TILE4 - 1u);
    const size_t words = (n_out - whole + 7u) / 8u;
    const int32_t factor = (int32_t)1 << shift;
    while (events != last) {
        const size_t n = at_most((size_t)(last - events), EVENTS_IN_LANES);
        const uint16_t *end = events + n;
        if (whole > 0) {
            esnn_tiles4(events, (uintptr_t)weights - first * 16u, end, current, n_in * 16u,
                        current + whole, factor, 0u - 8u * (uint32_t)n);
        }
        if (words > 0) {
            narrow4(events, (uintptr_t)weights + whole / 2u * n_in - first * words * 4u, end,
                    current + whole, words, n_out - whole, factor);
        }
        events = end;
    }
}

/* Weights of 2 bits, codes of 0 to 3: the bytes w, w >> 2, w >> 4 and w >> 6 are summed, the first
 * three modulo 256. From the last to the first each gives what the one before has beyond its lowest
 * code, whose sum is then exact for 85 events. */
#define EVENTS_IN_A_BYTE2 85u

/* lanes stay in memory: for all of them and the sums there are not registers enough */
static void add_lanes(uint16_t lanes[2][8], uint8x16_t bytes) {
    vst1q_u16(lanes[0], vaddq_u16(vld1q_u16(lanes[0]), vmovlbq_u8(bytes)));
    vst1q_u16(lanes[1], vaddq_u16(vld1q_u16(lanes[1]), vmovltq_u8(bytes)));
}

static void add_apart(int32_t *current, uint32x4_t offsets, int32x4_t sums, int32_t factor) {
    const int32x4_t old = vldrwq_gather_offset_s32(current, offsets);
    vstrwq_scatter_offset_s32(current, offsets, vmlaq_n_s32(old, sums, factor));
}

/* the sums of a tile's columns, whose rows have `bytes` bytes, for 1 to 4096 events */
ESNN_APART static void sum2(const uint16_t *events, uintptr_t rows, const uint16_t *end,
                            size_t bytes, uint16_t lanes[4][2][8]) {
    const mve_pred16_t wanted = vctp8q((uint32_t)bytes);
    const uint16x8_t start = vdupq_n_u16((uint16_t)(0u - 2u * (uint32_t)(end - events)));
    for (uint16_t *lane = lanes[0][0], *last = lane + ESNN_TILE2; lane != last; lane += 8) {
        vst1q_u16(lane, start);
    }
    do {
        const uint16_t *until = events + at_most((size_t)(end - events), EVENTS_IN_A_BYTE2);
        uint8x16_t s0 = vdupq_n_u8(0), s1 = s0, s2 = s0, s3 = s0;
        do {
            const uint8x16_t w = vldrbq_z_u8((const uint8_t *)(rows + *events * bytes), wanted);
            s0 = vaddq_u8(s0, w);
            s1 = vaddq_u8(s1, vshrq_n_u8(w, 2));
            s2 = vaddq_u8(s2, vshrq_n_u8(w, 4));
            s3 = vaddq_u8(s3, vshrq_n_u8(w, 6));
        } while (++events != until);
        __asm__("" : "+r"(lanes)); /* one address: eight of them would lie on the stack */
        add_lanes(lanes[0], vsubq_u8(s0, vshlq_n_u8(s1, 2)));
        add_lanes(lanes[1], vsubq_u8(s1, vshlq_n_u8(s2, 2)));
        add_lanes(lanes[2], vsubq_u8(s2, vshlq_n_u8(s3, 2)));
        add_lanes(lanes[3], s3);
    } while (events != end);
}

ESNN_APART static void fold2(int32_t *current, uint16_t lanes[4][2][8], size_t outputs,
                             int32_t factor) {
    if (outputs == ESNN_TILE2) {
        const uint32x4_t words = vmulq_n_u32(vidupq_n_u32(0, 1), 64); /* 16 currents apart */
        for (size_t q = 0; q < 4u; q++, current += 4) {
            const int16x8_t even = vreinterpretq_s16_u16(vld1q_u16(lanes[q][0]));
            const int16x8_t odd = vreinterpretq_s16_u16(vld1q_u16(lanes[q][1]));
            add_apart(current, words, vmovlbq_s16(even), factor);
            add_apart(current + 1, words, vmovlbq_s16(odd), factor);
            add_apart(current + 2, words, vmovltq_s16(even), factor);
            add_apart(current + 3, words, vmovltq_s16(odd), factor);
        }
        return;
    }
    for (size_t k = 0; k < outputs; k++) {
        const uint16_t sum = lanes[k / 4u % 4u][k % 2u][k / 16u * 2u + k % 4u / 2u];
        current[k] += (int16_t)sum * factor;
    }
}

void esnn_dense2_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                        uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first) {
    for (size_t o = 0; o < n_out; o += ESNN_TILE2, weights += n_in * 16u) {
        const size_t outputs = at_most(n_out - o, ESNN_TILE2);
        const size_t bytes = (outputs + 15u) / 16u * 4u;
        for (size_t e = 0; e < n_events; e += EVENTS_IN_LANES) {
            uint16_t lanes[4][2][8];
            sum2(events + e, (uintptr_t)weights - first * bytes,
                 events + e + at_most(n_events - e, EVENTS_IN_LANES), bytes, lanes);
            fold2(current + o, lanes, outputs, (int32_t)1 << shift);
        }
    }
}

/* current[k] += row[k] * factor for n neurons, not none */
static inline void add_row(int32_t *current, const int8_t *row, size_t n, int32_t factor) {
    __asm__ volatile("dlstp.32 lr, %2\n"
                     "1:\n"
                     "    vldrb.s32 q1, [%1], #4\n"
                     "    vldrw.s32 q0, [%0]\n"
                     "    vmla.s32 q0, q1, %3\n"
                     "    vstrw.32 q0, [%0], #16\n"
                     "    letp lr, 1b\n"
                     : "+r"(current), "+r"(row)
                     : "r"(n), "r"(factor)
                     : "lr", "q0", "q1", "memory");
}

void esnn_blocks_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                        uint32_t shift, const uint16_t *events, size_t n_events, uint8_t *met) {
    (void)met; /* here all blocks are updated in vectors: see esnn_lif.c */
    const size_t width = esnn_align((uint32_t)n_out);
    const int32_t factor = (int32_t)1 << shift;
    uintptr_t rows = (uintptr_t)weights; /* where the row for event 0 would be */
    size_t end = n_in;                   /* the first neuron of the next block */
    for (const uint16_t *last = events + n_events; events != last; events++) {
        const size_t event = *events;
        for (; event >= end; end += n_in) {
            current += n_out;
            rows -= n_in * width;
        }
        add_row(current, (const int8_t *)(rows + event * width), n_out, factor);
    }
}

/* esnn_lif for a multiple of 16 neurons, not none, with the decay times 2^16; returns the end of
 * what it wrote to events. */
uint16_t *esnn_lif_sixteens(int32_t *v, const int32_t *current, const int32_t *threshold,
                            uint32_t decay, size_t n, uint16_t *events);

/* v * decay rounded is the upper half of 2 v * (decay * 2^16) + 2^31: see leak in esnn_kernels.c.
 * Lane L of the k-th of four vectors is neuron 4 L + k. The signs of threshold - v gather in the
 * upper 4 bits of the lanes of the first, and from there in one word, neuron 0 uppermost.
 * Registers: r0 v, r1 current, r2 threshold, r3 decay, r4 events, r5 n, r6 the neurons that spike,
 * r7 the first of the sixteen, r8 the first of them, r9 2^31, r10 the factors
 * that bring 4 bits to their place. */
__asm__(".syntax unified\n"
        ".section .text.esnn_lif_sixteens,\"ax\",%progbits\n"
        ".balign 4\n"
        ".global esnn_lif_sixteens\n"
        ".thumb_func\n"
        ".type esnn_lif_sixteens, %function\n"
        "esnn_lif_sixteens:\n"
        "    push {r4-r10, lr}\n"
        "    vpush {d8-d15}\n"
        "    ldrd r5, r4, [sp, #96]\n"
        "    mov r9, #0x80000000\n"
        "    adr r10, 5f\n"
        "    lsr lr, r5, #4\n"
        "    dls lr, lr\n"
        "1:\n"
        "    vld40.32 {q0, q1, q2, q3}, [r0]\n"
        "    vld41.32 {q0, q1, q2, q3}, [r0]\n"
        "    vld42.32 {q0, q1, q2, q3}, [r0]\n"
        "    vld43.32 {q0, q1, q2, q3}, [r0]\n"
        "    vld40.32 {q4, q5, q6, q7}, [r1]\n"
        "    vld41.32 {q4, q5, q6, q7}, [r1]\n"
        "    vld42.32 {q4, q5, q6, q7}, [r1]\n"
        "    vld43.32 {q4, q5, q6, q7}, [r1]!\n"
        "    vqrdmlah.s32 q4, q0, r3\n"
        "    vqrdmlah.s32 q5, q1, r3\n"
        "    vqrdmlah.s32 q6, q2, r3\n"
        "    vqrdmlah.s32 q7, q3, r3\n"
        "    vld40.32 {q0, q1, q2, q3}, [r2]\n"
        "    vld41.32 {q0, q1, q2, q3}, [r2]\n"
        "    vld42.32 {q0, q1, q2, q3}, [r2]\n"
        "    vld43.32 {q0, q1, q2, q3}, [r2]!\n"
        "    vst40.32 {q4, q5, q6, q7}, [r0]\n"
        "    vst41.32 {q4, q5, q6, q7}, [r0]\n"
        "    vst42.32 {q4, q5, q6, q7}, [r0]\n"
        "    vst43.32 {q4, q5, q6, q7}, [r0]!\n"
        "    vsub.i32 q3, q3, q7\n"
        "    vsub.i32 q2, q2, q6\n"
        "    vsri.32 q2, q3, #1\n"
        "    vldrw.u32 q7, [r10]\n"
        "    vsub.i32 q1, q1, q5\n"
        "    vsri.32 q1, q2, #1\n"
        "    vsub.i32 q0, q0, q4\n"
        "    vsri.32 q0, q1, #1\n"
        "    vshr.u32 q0, q0, #28\n"
        "    vmlav.u32 r6, q0, q7\n"
        "    cbnz r6, 3f\n"
        "    le lr, 1b\n"
        "2:\n"
        "    mov r0, r4\n"
        "    vpop {d8-d15}\n"
        "    pop {r4-r10, pc}\n"
        "3:\n"
        "    sub r7, r5, lr, lsl #4\n"
        "4:\n"
        "    clz r8, r6\n"
        "    lsr r12, r9, r8\n"
        "    add r8, r8, r7\n"
        "    strh r8, [r4], #2\n"
        "    bics r6, r6, r12\n"
        "    bne 4b\n"
        "    le lr, 1b\n"
        "    b 2b\n"
        ".balign 4\n"
        "5: .word 1 << 28, 1 << 24, 1 << 20, 1 << 16\n"
        ".size esnn_lif_sixteens, . - esnn_lif_sixteens\n"
        ".text\n");

typedef size_t lif(int32_t *v, const int32_t *current, const int32_t *threshold, uint32_t decay,
                   size_t n, uint16_t *events);

/* the neurons from number `from` to n with the portable kernel, behind `fired` events */
static size_t rest(lif *portable, int32_t *v, const int32_t *current, const int32_t *threshold,
                   uint32_t decay, size_t from, size_t n, uint16_t *events, size_t fired) {
    size_t more =
        portable(v + from, current + from, threshold + from, decay, n - from, events + fired);
    for (; more > 0; more--, fired++) {
        events[fired] = (uint16_t)(events[fired] + from);
    }
    return fired;
}

size_t esnn_lif(int32_t *v, const int32_t *current, const int32_t *threshold, uint32_t decay,
                size_t n, uint16_t *events) {
    const size_t sixteens = n & ~(size_t)15u;
    size_t fired = 0;
    if (sixteens > 0) {
        const uint16_t *end =
            esnn_lif_sixteens(v, current, threshold, decay << 16, sixteens, events);
        fired = (size_t)(end - events);
    }
    if (sixteens < n) {
        fired = rest(esnn_lif_portable, v, current, threshold, decay, sixteens, n, events, fired);
    }
    return fired;
}

/* esnn_lif_saturating for a multiple of 8 neurons, not none, with the decay times 2^16, without
 * saturation. Returns the end of what it wrote to events, or NULL where a membrane may want
 * saturation: then they hold their sums, which fit 32 bits, and the events are not to be used. */
uint16_t *esnn_lif_eights(int32_t *v, const int32_t *current, const int32_t *threshold,
                          uint32_t decay, size_t n, uint16_t *events);

/* v * decay rounded is the upper half of 2 v * (decay * 2^16) + 2^31: see leak in esnn_kernels.c.
 * Registers: r0 v, r1 current, r2 threshold, r3 decay, r4 events, r5 where v started, 32 ahead,
 * r6 the neurons that spike, 4 bits each, r9 the first of them, q4 the largest |v| of each lane. */
__asm__(".syntax unified\n"
        ".section .text.esnn_lif_eights,\"ax\",%progbits\n"
        ".balign 4\n"
        ".global esnn_lif_eights\n"
        ".thumb_func\n"
        ".type esnn_lif_eights, %function\n"
        "esnn_lif_eights:\n"
        "    push {r4-r9, lr}\n"
        "    vpush {d8-d9}\n"
        "    ldr lr, [sp, #44]\n"
        "    ldr r4, [sp, #48]\n"
        "    add r5, r0, #32\n"
        "    mov r9, #0xf0000000\n"
        "    vmov.i32 q4, #0\n"
        "    lsr lr, lr, #3\n"
        "    dls lr, lr\n"
        "1:\n"
        "    vldrw.s32 q0, [r0]\n"
        "    vldrw.s32 q2, [r1], #16\n"
        "    vqrdmlah.s32 q2, q0, r3\n"
        "    vldrw.s32 q1, [r0, #16]\n"
        "    vldrw.s32 q3, [r1], #16\n"
        "    vqrdmlah.s32 q3, q1, r3\n"
        "    vldrw.s32 q0, [r2], #16\n"
        "    vmaxa.s32 q4, q2\n"
        "    vstrw.32 q2, [r0], #16\n"
        "    vcmp.s32 gt, q2, q0\n"
        "    vmrs r6, p0\n"
        "    vldrw.s32 q1, [r2], #16\n"
        "    vmaxa.s32 q4, q3\n"
        "    vstrw.32 q3, [r0], #16\n"
        "    vcmp.s32 gt, q3, q1\n"
        "    vmrs r7, p0\n"
        "    orrs r6, r6, r7, lsl #16\n"
        "    bne 3f\n"
        "    le lr, 1b\n"
        "2:\n"
        "    movs r0, #0\n"
        "    vmaxv.u32 r0, q4\n" /* bit 30 or 31: some |v| is not below 2^30 */
        "    lsrs r0, r0, #30\n"
        "    ite eq\n"
        "    moveq r0, r4\n"
        "    movne r0, #0\n"
        "    vpop {d8-d9}\n"
        "    pop {r4-r9, pc}\n"
        "3:\n"
        "    rbit r6, r6\n"
        "    sub r7, r0, r5\n"
        "    lsrs r7, r7, #2\n"
        "4:\n"
        "    clz r8, r6\n"
        "    lsr r12, r9, r8\n"
        "    add r8, r7, r8, lsr #2\n"
        "    strh r8, [r4], #2\n"
        "    bics r6, r6, r12\n"
        "    bne 4b\n"
        "    le lr, 1b\n"
        "    b 2b\n"
        ".size esnn_lif_eights, . - esnn_lif_eights\n"
        ".text\n");

static int32_t saturated(int32_t v) {
    const int32_t bound = (int32_t)1 << 30;
    return v < -bound ? -bound : v > bound - 1 ? bound - 1 : v;
}

size_t esnn_lif_saturating(int32_t *v, const int32_t *current, const int32_t *threshold,
                           uint32_t decay, size_t n, uint16_t *events) {
    const size_t eights = n & ~(size_t)7u;
    size_t fired = 0;
    if (eights > 0) {
        const uint16_t *end = esnn_lif_eights(v, current, threshold, decay << 16, eights, events);
        if (end != NULL) {
            fired = (size_t)(end - events);
        } else {
            for (size_t k = 0; k < eights; k++) {
                v[k] = saturated(v[k]);
                if (v[k] > threshold[k]) {
                    events[fired++] = (uint16_t)k;
                }
            }
        }
    }
    if (eights < n) {
        fired = rest(esnn_lif_saturating_portable, v, current, threshold, decay, eights, n, events,
                     fired);
    }
    return fired;
}

uint32_t esnn_decay(int32_t *v, size_t n, uint32_t decay) {
    const int32_t factor = (int32_t)(decay << 16);
    int32x4_t changed = vdupq_n_s32(0);
    for (; n >= 16; n -= 16, v += 16) {
#pragma GCC unroll 4
        for (size_t k = 0; k < 16; k += 4) {
            const int32x4_t old = vldrwq_s32(v + k);
            const int32x4_t next = vqrdmulhq_n_s32(old, factor);
            changed = vorrq_s32(changed, veorq_s32(next, old));
            vstrwq_s32(v + k, next);
        }
    }
    const uint32_t rest_changed = n > 0 ? esnn_decay_portable(v, n, decay) : 0;
    return rest_changed | (uint32_t)(vgetq_lane_s32(changed, 0) | vgetq_lane_s32(changed, 1) |
                                     vgetq_lane_s32(changed, 2) | vgetq_lane_s32(changed, 3));
}

#endif
