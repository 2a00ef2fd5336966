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

/* esnn_lif for a multiple of 8 neurons, not none, with the decay times 2^16, without saturation.
 * Returns the end of what it wrote to events, or NULL where a membrane may want saturation: then
 * they hold their sums, which fit 32 bits, and the events are not to be used. */
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

size_t esnn_lif(int32_t *v, const int32_t *current, const int32_t *threshold, uint32_t decay,
                size_t n, uint16_t *events) {
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
        size_t more = esnn_lif_portable(v + eights, current + eights, threshold + eights, decay,
                                        n - eights, events + fired);
        for (; more > 0; more--, fired++) {
            events[fired] = (uint16_t)(events[fired] + eights);
        }
    }
    return fired;
}

#endif
