/* The inner loops of Cortex-M cores without Helium. What they compute, and with what arguments, is
 * in esnn_kernels_packed.c.
 *
 * A tile's sums stay in registers, which are all in use: the stack pointer reaches everything
 * else. Unrolled loops are entered in the middle where the number of events asks for it.
 * In the neuron update a spike is a branch out of line and back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"

#if defined(ESNN_KERNELS_DSP) || defined(ESNN_KERNELS_THUMB2)

__asm__(".syntax unified\n"
        ".section .text.esnn_clear,\"ax\",%progbits\n"
        ".balign 4\n"
        ".global esnn_clear\n"
        ".thumb_func\n"
        ".type esnn_clear, %function\n"
        "esnn_clear:\n"
        "    push {r4-r9}\n"
        "    movs r2, #0\n"
        "    movs r3, #0\n"
        "    movs r4, #0\n"
        "    movs r5, #0\n"
        "    movs r6, #0\n"
        "    movs r7, #0\n"
        "    mov r8, r2\n"
        "    mov r9, r2\n"
        "    subs r1, r1, #16\n"
        "    blt 2f\n"
        "1:\n"
        "    stm r0!, {r2-r9}\n"
        "    stm r0!, {r2-r9}\n"
        "    subs r1, r1, #16\n"
        "    bge 1b\n"
        "2:\n"
        "    adds r1, r1, #16\n"
        "    beq 4f\n"
        "3:\n"
        "    stm r0!, {r2}\n"
        "    subs r1, r1, #1\n"
        "    bne 3b\n"
        "4:\n"
        "    pop {r4-r9}\n"
        "    bx lr\n"
        ".size esnn_clear, . - esnn_clear\n"
        ".text\n");

/* Registers: r0 to r3 row and weights, r4 events, r5 rows, r6 to lr even and odd sums. Stack: 0
 * events, 4 rows, 8 end, 12 current, 16 registers, 52 stride, 56 last, 60 factor, 64 even, 68 odd.
 */
#define NEXT_TILE                  \
    "    str r0, [sp, #12]\n"      \
    "    ldrd r1, r2, [sp, #52]\n" \
    "    ldr r3, [sp, #4]\n"       \
    "    add r3, r3, r1\n"         \
    "    str r3, [sp, #4]\n"       \
    "    cmp r0, r2\n"             \
    "    bne 1b\n"                 \
    "    add sp, sp, #16\n"        \
    "    pop {r4-r11, pc}\n"

/* Registers: r0 to r3 row and weights, r4 events, r5 rows, r6 to r9 sums of all, r10 to lr of high
 * halves; in the last fold r4 to r7 lanes, r8 to r11 currents. Stack: 0 lanes, for each word even
 * and odd of the low halves between those of the high, 64 end of 17 events, 68 events, 72 rows, 76
 * end, 80 current, 84 registers, 120 stride, 124 last, 128 factor, 132 even, 136 odd. */
__asm__(".syntax unified\n"
        ".section .text.esnn_tiles4,\"ax\",%progbits\n"
        ".macro start4 all high\n"
        "    and \\high, \\all, #0xf0f0f0f0\n"
        "    lsr \\high, \\high, #4\n"
        ".endm\n"
        ".macro sum4 all high w\n"
        "    add \\all, \\all, \\w\n"
        "    and \\w, \\w, #0xf0f0f0f0\n"
        "    add \\high, \\high, \\w, lsr #4\n"
        ".endm\n"
        ".macro event4\n"
        "    ldrh r0, [r4], #2\n"
        "    add r0, r5, r0, lsl #4\n"
        "    ldm r0, {r0-r3}\n"
        "    sum4 r6, r10, r0\n"
        "    sum4 r7, r11, r1\n"
        "    sum4 r8, r12, r2\n"
        "    sum4 r9, lr, r3\n"
        ".endm\n"
#if defined(ESNN_KERNELS_DSP)
        ".macro widen4 all high\n"
        "    ldm r5, {r0-r3}\n"
        "    sub \\all, \\all, \\high, lsl #4\n"
        "    uxtab16 r0, r0, \\all\n"
        "    uxtab16 r1, r1, \\high\n"
        "    uxtab16 r2, r2, \\all, ror #8\n"
        "    uxtab16 r3, r3, \\high, ror #8\n"
        "    stm r5!, {r0-r3}\n"
        ".endm\n"
        ".macro fold4\n"
        "    ldm r2!, {r4-r7}\n"
        "    ldm r0, {r8-r11}\n"
        "    smlabb r8, r4, r1, r8\n"
        "    smlabb r9, r5, r1, r9\n"
        "    smlabb r10, r6, r1, r10\n"
        "    smlabb r11, r7, r1, r11\n"
        "    stm r0!, {r8-r11}\n"
        "    ldm r3, {r8-r11}\n"
        "    smlatb r8, r4, r1, r8\n"
        "    smlatb r9, r5, r1, r9\n"
        "    smlatb r10, r6, r1, r10\n"
        "    smlatb r11, r7, r1, r11\n"
        "    stm r3!, {r8-r11}\n"
        ".endm\n"
#else
        ".macro widen4 all high\n"
        "    ldm r5, {r0-r3}\n"
        "    sub \\all, \\all, \\high, lsl #4\n"
        "    add r2, r2, \\all, lsr #8\n"
        "    and \\all, \\all, #0x00ff00ff\n"
        "    add r0, r0, \\all\n"
        "    add r3, r3, \\high, lsr #8\n"
        "    and \\high, \\high, #0x00ff00ff\n"
        "    add r1, r1, \\high\n"
        "    stm r5!, {r0-r3}\n"
        ".endm\n"
        ".macro split4 even odd a b\n"
        "    sxth \\a, \\even\n"
        "    sub \\even, \\even, \\a\n"
        "    asr \\even, \\even, #16\n"
        "    sub \\odd, \\odd, \\even, lsl #8\n"
        "    sxth \\b, \\odd\n"
        "    sub \\odd, \\odd, \\b\n"
        "    asr \\odd, \\odd, #16\n"
        ".endm\n"
        ".macro fold4\n"
        "    ldm r2!, {r4-r7}\n"
        "    split4 r4, r6, r8, r10\n"
        "    split4 r5, r7, r9, r11\n"
        "    ldrd r12, lr, [r0]\n"
        "    mla r12, r8, r1, r12\n"
        "    mla lr, r9, r1, lr\n"
        "    strd r12, lr, [r0], #8\n"
        "    ldrd r12, lr, [r0]\n"
        "    mla r12, r10, r1, r12\n"
        "    mla lr, r11, r1, lr\n"
        "    strd r12, lr, [r0], #8\n"
        "    ldm r3, {r8-r11}\n"
        "    mla r8, r4, r1, r8\n"
        "    mla r9, r5, r1, r9\n"
        "    mla r10, r6, r1, r10\n"
        "    mla r11, r7, r1, r11\n"
        "    stm r3!, {r8-r11}\n"
        ".endm\n"
#endif
        ".balign 4\n"
        ".global esnn_tiles4\n"
        ".thumb_func\n"
        ".type esnn_tiles4, %function\n"
        "esnn_tiles4:\n"
        "    push {r0-r11, lr}\n"
        "    sub sp, sp, #68\n"
        "1:\n"
        "    ldrd r0, r2, [sp, #132]\n"
        "    mov r1, r0\n"
        "    mov r3, r2\n"
        "    mov r4, sp\n"
        "    stm r4!, {r0-r3}\n"
        "    stm r4!, {r0-r3}\n"
        "    stm r4!, {r0-r3}\n"
        "    stm r4!, {r0-r3}\n"
        "    ldrd r4, r5, [sp, #68]\n"
        "2:\n"
        "    ldrh r0, [r4], #2\n"
        "    add r0, r5, r0, lsl #4\n"
        "    ldm r0, {r6-r9}\n"
        "    start4 r6, r10\n"
        "    start4 r7, r11\n"
        "    start4 r8, r12\n"
        "    start4 r9, lr\n"
        "    ldr r0, [sp, #76]\n"
        "    add r1, r4, #32\n"
        "    cmp r0, r1\n"
        "    it hi\n"
        "    movhi r0, r1\n"
        "    str r0, [sp, #64]\n"
        "    subs r0, r0, r4\n"
        "    beq 7f\n"
        "    ubfx r0, r0, #1, #2\n" /* how many are left, modulo 4 */
        "    tbb [pc, r0]\n"
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
        "    ldr r0, [sp, #64]\n"
        "    cmp r4, r0\n"
        "    bne 3b\n"
        "7:\n"
        "    mov r5, sp\n"
        "    widen4 r6, r10\n"
        "    widen4 r7, r11\n"
        "    widen4 r8, r12\n"
        "    widen4 r9, lr\n"
        "    ldrd r5, r0, [sp, #72]\n"
        "    cmp r4, r0\n"
        "    bne 2b\n"
        "    ldr r0, [sp, #80]\n"
        "    ldr r1, [sp, #128]\n"
        "    mov r2, sp\n"
        "    add r3, r0, #64\n"
        "9:\n"
        "    fold4\n"
        "    add r12, sp, #64\n"
        "    cmp r2, r12\n"
        "    bne 9b\n"
        "    str r3, [sp, #80]\n"
        "    ldrd r1, r2, [sp, #120]\n"
        "    ldr r0, [sp, #72]\n"
        "    add r0, r0, r1\n"
        "    str r0, [sp, #72]\n"
        "    cmp r3, r2\n"
        "    bne 1b\n"
        "    add sp, sp, #84\n"
        "    pop {r4-r11, pc}\n"
        ".size esnn_tiles4, . - esnn_tiles4\n"
        ".text\n");

/* Registers: r0 current, r1 where the row for event 0 would be, r2 event or weight, r3 bytes of a
 * block's currents, r4 events, r5 bytes of a row, r6 row, r7 weights, r8 to r11 sums, r12 the first
 * neuron of the next block, lr factor. Stack: 0 n_in, 4 bytes of a block's weights, 8 last, 12
 * whole words of a row, 16 weights in the word behind them. */
__asm__(".syntax unified\n"
        ".section .text.esnn_blocks_events,\"ax\",%progbits\n"
        ".macro add_weight to k\n"
        "    sxtb r2, r7, ror #(8 * \\k)\n"
        "    mla \\to, r2, lr, \\to\n"
        ".endm\n"
        ".macro add_word\n"
        "    ldr r7, [r6], #4\n"
        "    ldm r0, {r8-r11}\n"
        "    add_weight r8, 0\n"
        "    add_weight r9, 1\n"
        "    add_weight r10, 2\n"
        "    add_weight r11, 3\n"
        "    stm r0!, {r8-r11}\n"
        ".endm\n"
        ".balign 4\n"
        ".global esnn_blocks_events\n"
        ".thumb_func\n"
        ".type esnn_blocks_events, %function\n"
        "esnn_blocks_events:\n"
        "    push {r4-r11, lr}\n"
        "    ldrd r6, r4, [sp, #36]\n"
        "    ldr r7, [sp, #44]\n"
        "    add r7, r4, r7, lsl #1\n"
        "    mov lr, #1\n"
        "    lsl lr, lr, r6\n"
        "    add r5, r3, #3\n"
        "    bic r5, r5, #3\n"
        "    mul r6, r2, r5\n"
        "    mov r12, r2\n"
        "    lsr r9, r3, #2\n"
        "    and r10, r3, #3\n"
        "    lsl r3, r3, #2\n"
        "    push {r2, r6, r7, r9, r10}\n"
        "    b 9f\n"
        "1:\n"
        "    ldrh r2, [r4], #2\n"
        "    cmp r2, r12\n"
        "    blo 2f\n"
        "    ldrd r6, r7, [sp]\n"
        "10:\n"
        "    add r12, r12, r6\n"
        "    add r0, r0, r3\n"
        "    sub r1, r1, r7\n"
        "    cmp r2, r12\n"
        "    bhs 10b\n"
        "2:\n"
        "    mla r6, r2, r5, r1\n"
        "    ldr r2, [sp, #12]\n"
        "    tbb [pc, r2]\n"
        "11:\n"
        ".byte (7f - 11b) / 2, (6f - 11b) / 2, (5f - 11b) / 2, (4f - 11b) / 2, (3f - 11b) / 2\n"
        ".balign 2\n"
        "3:\n"
        "    add_word\n"
        "4:\n"
        "    add_word\n"
        "5:\n"
        "    add_word\n"
        "6:\n"
        "    add_word\n"
        "7:\n"
        "    ldr r2, [sp, #16]\n"
        "    tbb [pc, r2]\n"
        "12:\n"
        ".byte (8f - 12b) / 2, (13f - 12b) / 2, (14f - 12b) / 2, (15f - 12b) / 2\n"
        "13:\n"
        "    ldr r7, [r6]\n"
        "    ldr r8, [r0]\n"
        "    add_weight r8, 0\n"
        "    str r8, [r0], #4\n"
        "    b 8f\n"
        "14:\n"
        "    ldr r7, [r6]\n"
        "    ldrd r8, r9, [r0]\n"
        "    add_weight r8, 0\n"
        "    add_weight r9, 1\n"
        "    strd r8, r9, [r0], #8\n"
        "    b 8f\n"
        "15:\n"
        "    ldr r7, [r6]\n"
        "    ldm r0, {r8-r10}\n"
        "    add_weight r8, 0\n"
        "    add_weight r9, 1\n"
        "    add_weight r10, 2\n"
        "    stm r0!, {r8-r10}\n"
        "8:\n"
        "    sub r0, r0, r3\n"
        "9:\n"
        "    ldr r2, [sp, #8]\n"
        "    cmp r4, r2\n"
        "    bne 1b\n"
        "    add sp, sp, #20\n"
        "    pop {r4-r11, pc}\n"
        ".size esnn_blocks_events, . - esnn_blocks_events\n"
        ".text\n");

#endif

#if defined(ESNN_KERNELS_DSP)

__asm__(".syntax unified\n"
        ".section .text.esnn_tiles,\"ax\",%progbits\n"
        ".macro start even odd w\n"
        "    sxtb16 \\even, \\w\n"
        "    sxtb16 \\odd, \\w, ror #8\n"
        ".endm\n"
        ".macro sum even odd w\n"
        "    sxtab16 \\even, \\even, \\w\n"
        "    sxtab16 \\odd, \\odd, \\w, ror #8\n"
        ".endm\n"
        ".macro event operation\n"
        "    ldrh r0, [r4], #2\n"
        "    add r0, r5, r0, lsl #4\n"
        "    ldm r0, {r0-r3}\n"
        "    \\operation r6, r7, r0\n"
        "    \\operation r8, r9, r1\n"
        "    \\operation r10, r11, r2\n"
        "    \\operation r12, lr, r3\n"
        ".endm\n"
        ".macro fold even odd\n"
        "    ldm r0, {r2-r5}\n"
        "    smlabb r2, \\even, r1, r2\n"
        "    smlabb r3, \\odd, r1, r3\n"
        "    smlatb r4, \\even, r1, r4\n"
        "    smlatb r5, \\odd, r1, r5\n"
        "    stm r0!, {r2-r5}\n"
        ".endm\n"
        ".balign 4\n"
        ".global esnn_tiles\n"
        ".thumb_func\n"
        ".type esnn_tiles, %function\n"
        "esnn_tiles:\n"
        "    push {r0-r11, lr}\n"
        "1:\n"
        "    ldrd r4, r5, [sp]\n"
        "    event start\n"
        "    ldr r0, [sp, #8]\n"
        "    subs r0, r0, r4\n"
        "    beq 6f\n"
        "    ubfx r0, r0, #1, #2\n" /* how many are left, modulo 4 */
        "    tbb [pc, r0]\n"
        "7:\n"
        ".byte (2f - 7b) / 2, (5f - 7b) / 2, (4f - 7b) / 2, (3f - 7b) / 2\n"
        "2:\n"
        "    event sum\n"
        "3:\n"
        "    event sum\n"
        "4:\n"
        "    event sum\n"
        "5:\n"
        "    event sum\n"
        "    ldr r0, [sp, #8]\n"
        "    cmp r4, r0\n"
        "    bne 2b\n"
        "6:\n"
        "    ldr r0, [sp, #12]\n"
        "    ldr r1, [sp, #60]\n"
        "    fold r6, r7\n"
        "    fold r8, r9\n"
        "    fold r10, r11\n"
        "    fold r12, lr\n" NEXT_TILE ".size esnn_tiles, . - esnn_tiles\n"
        ".text\n");

/* v * decay rounded is the upper half of 2 v * (decay * 2^16): see leak in esnn_kernels.c.
 * Registers: r0 v, r1 current, r2 threshold, r3 decay, r4 to r7 v, then thresholds of 4 neurons,
 * r8 to r11 their currents, then new v, r12 events, lr end. Stack: where v started, 16 ahead. */
#define LIF_FOURS(NAME, SATURATE)                \
    ".section .text." NAME ",\"ax\",%progbits\n" \
    ".balign 4\n"                                \
    ".global " NAME "\n"                         \
    ".thumb_func\n"                              \
    ".type " NAME ", %function\n"                \
    "" NAME ":\n"                                \
    "    add r0, r0, #16\n"                      \
    "    push {r0, r4-r11, lr}\n"                \
    "    sub r0, r0, #16\n"                      \
    "    ldr lr, [sp, #40]\n"                    \
    "    ldr r12, [sp, #44]\n"                   \
    "1:\n"                                       \
    "    ldm r0, {r4-r7}\n"                      \
    "    ldm r1!, {r8-r11}\n"                    \
    "    neuron r8, r4, " SATURATE "\n"          \
    "    neuron r9, r5, " SATURATE "\n"          \
    "    neuron r10, r6, " SATURATE "\n"         \
    "    neuron r11, r7, " SATURATE "\n"         \
    "    ldm r2!, {r4-r7}\n"                     \
    "    stm r0!, {r8-r11}\n"                    \
    "    cmp r8, r4\n"                           \
    "    bgt 10f\n"                              \
    "20:\n"                                      \
    "    cmp r9, r5\n"                           \
    "    bgt 11f\n"                              \
    "21:\n"                                      \
    "    cmp r10, r6\n"                          \
    "    bgt 12f\n"                              \
    "22:\n"                                      \
    "    cmp r11, r7\n"                          \
    "    bgt 13f\n"                              \
    "23:\n"                                      \
    "    cmp r0, lr\n"                           \
    "    bne 1b\n"                               \
    "    mov r0, r12\n"                          \
    "    add sp, sp, #4\n"                       \
    "    pop {r4-r11, pc}\n"                     \
    "10:\n"                                      \
    "    spike 0\n"                              \
    "11:\n"                                      \
    "    spike 1\n"                              \
    "12:\n"                                      \
    "    spike 2\n"                              \
    "13:\n"                                      \
    "    spike 3\n"                              \
    ".size " NAME ", . - " NAME "\n"             \
    ".text\n"

__asm__(".syntax unified\n"
        ".macro neuron x v saturate\n"
        "    lsls \\v, \\v, #1\n"
        "    smmlar \\x, \\v, r3, \\x\n"
        ".if \\saturate\n"
        "    ssat \\x, #31, \\x\n"
        ".endif\n"
        ".endm\n"
        ".macro spike k\n"
        "    ldr r4, [sp]\n"
        "    sub r4, r0, r4\n"
        "    lsrs r4, r4, #2\n"
        ".if \\k\n"
        "    adds r4, r4, #\\k\n"
        ".endif\n"
        "    strh r4, [r12], #2\n"
        "    b 2\\k\\()b\n"
        ".endm\n" LIF_FOURS("esnn_lif_fours", "0") LIF_FOURS("esnn_lif_saturating_fours", "1"));

#elif defined(ESNN_KERNELS_THUMB2)

__asm__(".syntax unified\n"
        ".section .text.esnn_tiles,\"ax\",%progbits\n"
        ".macro sum even odd w\n"
        "    eor \\w, \\w, #0x80808080\n"
        "    add \\odd, \\odd, \\w, lsr #8\n"
        "    and \\w, \\w, #0x00ff00ff\n"
        "    add \\even, \\even, \\w\n"
        ".endm\n"
        ".macro event\n"
        "    ldrh r0, [r4], #2\n"
        "    add r0, r5, r0, lsl #4\n"
        "    ldm r0, {r0-r3}\n"
        "    sum r6, r7, r0\n"
        "    sum r8, r9, r1\n"
        "    sum r10, r11, r2\n"
        "    sum r12, lr, r3\n"
        ".endm\n"
        ".macro fold even odd\n"
        "    sxth r2, \\even\n"
        "    sub \\even, \\even, r2\n"
        "    asr \\even, \\even, #16\n"
        "    sub \\odd, \\odd, \\even, lsl #8\n"
        "    sxth r3, \\odd\n"
        "    sub \\odd, \\odd, r3\n"
        "    asr \\odd, \\odd, #16\n"
        "    ldrd r4, r5, [r0]\n"
        "    mla r4, r2, r1, r4\n"
        "    mla r5, r3, r1, r5\n"
        "    ldrd r2, r3, [r0, #8]\n"
        "    mla r2, \\even, r1, r2\n"
        "    mla r3, \\odd, r1, r3\n"
        "    strd r2, r3, [r0, #8]\n"
        "    strd r4, r5, [r0], #16\n"
        ".endm\n"
        ".balign 4\n"
        ".global esnn_tiles\n"
        ".thumb_func\n"
        ".type esnn_tiles, %function\n"
        "esnn_tiles:\n"
        "    push {r0-r11, lr}\n"
        "1:\n"
        "    ldrd r4, r5, [sp]\n"
        "    ldrd r6, r7, [sp, #64]\n"
        "    mov r8, r6\n"
        "    mov r9, r7\n"
        "    mov r10, r6\n"
        "    mov r11, r7\n"
        "    mov r12, r6\n"
        "    mov lr, r7\n"
        "    ldr r0, [sp, #8]\n"
        "    subs r0, r0, r4\n"
        "    lsls r0, r0, #30\n" /* negative: an odd number of events */
        "    bmi 3f\n"
        "2:\n"
        "    event\n"
        "3:\n"
        "    event\n"
        "    ldr r0, [sp, #8]\n"
        "    cmp r4, r0\n"
        "    bne 2b\n"
        "    ldr r0, [sp, #12]\n"
        "    ldr r1, [sp, #60]\n"
        "    fold r6, r7\n"
        "    fold r8, r9\n"
        "    fold r10, r11\n"
        "    fold r12, lr\n" NEXT_TILE ".size esnn_tiles, . - esnn_tiles\n"
        ".text\n");

/* v * decay rounded is the upper half of 2 v * (decay * 2^16) + 2^31: see leak in esnn_kernels.c.
 * Registers: r0 v, r1 current, r2 threshold, r3 decay, r4 to r7 v, then thresholds of 4 neurons,
 * r8 to r11 their currents, then new v, r12 lower half, lr end. Stack: where v started, 16 ahead;
 * events. */
#define LIF_FOURS(NAME, SATURATE)                \
    ".section .text." NAME ",\"ax\",%progbits\n" \
    ".balign 4\n"                                \
    ".global " NAME "\n"                         \
    ".thumb_func\n"                              \
    ".type " NAME ", %function\n"                \
    "" NAME ":\n"                                \
    "    push {r4-r11, lr}\n"                    \
    "    ldr lr, [sp, #36]\n"                    \
    "    ldr r5, [sp, #40]\n"                    \
    "    add r4, r0, #16\n"                      \
    "    push {r4, r5}\n"                        \
    "1:\n"                                       \
    "    ldm r0, {r4-r7}\n"                      \
    "    ldm r1!, {r8-r11}\n"                    \
    "    neuron r8, r4, " SATURATE "\n"          \
    "    neuron r9, r5, " SATURATE "\n"          \
    "    neuron r10, r6, " SATURATE "\n"         \
    "    neuron r11, r7, " SATURATE "\n"         \
    "    ldm r2!, {r4-r7}\n"                     \
    "    stm r0!, {r8-r11}\n"                    \
    "    cmp r8, r4\n"                           \
    "    bgt 10f\n"                              \
    "20:\n"                                      \
    "    cmp r9, r5\n"                           \
    "    bgt 11f\n"                              \
    "21:\n"                                      \
    "    cmp r10, r6\n"                          \
    "    bgt 12f\n"                              \
    "22:\n"                                      \
    "    cmp r11, r7\n"                          \
    "    bgt 13f\n"                              \
    "23:\n"                                      \
    "    cmp r0, lr\n"                           \
    "    bne 1b\n"                               \
    "    ldr r0, [sp, #4]\n"                     \
    "    add sp, sp, #8\n"                       \
    "    pop {r4-r11, pc}\n"                     \
    "10:\n"                                      \
    "    spike 0, r8\n"                          \
    "11:\n"                                      \
    "    spike 1, r9\n"                          \
    "12:\n"                                      \
    "    spike 2, r10\n"                         \
    "13:\n"                                      \
    "    spike 3, r11\n"                         \
    ".size " NAME ", . - " NAME "\n"             \
    ".text\n"

__asm__(".syntax unified\n"
        ".macro neuron x v saturate\n"
        "    lsls \\v, \\v, #1\n"
        "    mov r12, #0x80000000\n"
        "    smlal r12, \\x, \\v, r3\n"
        ".if \\saturate\n"
        "    ssat \\x, #31, \\x\n"
        ".endif\n"
        ".endm\n"
        ".macro spike k x\n"
        "    ldrd r4, \\x, [sp]\n"
        "    sub r4, r0, r4\n"
        "    lsrs r4, r4, #2\n"
        ".if \\k\n"
        "    adds r4, r4, #\\k\n"
        ".endif\n"
        "    strh r4, [\\x], #2\n"
        "    str \\x, [sp, #4]\n"
        "    b 2\\k\\()b\n"
        ".endm\n" LIF_FOURS("esnn_lif_fours", "0") LIF_FOURS("esnn_lif_saturating_fours", "1"));

#elif defined(ESNN_KERNELS_THUMB1)

__asm__(".syntax unified\n"
        ".section .text.esnn_clear,\"ax\",%progbits\n"
        ".balign 4\n"
        ".global esnn_clear\n"
        ".thumb_func\n"
        ".type esnn_clear, %function\n"
        "esnn_clear:\n"
        "    push {r4-r5}\n"
        "    movs r2, #0\n"
        "    movs r3, #0\n"
        "    movs r4, #0\n"
        "    movs r5, #0\n"
        "    subs r1, r1, #8\n"
        "    blt 2f\n"
        "1:\n"
        "    stm r0!, {r2-r5}\n"
        "    stm r0!, {r2-r5}\n"
        "    subs r1, r1, #8\n"
        "    bge 1b\n"
        "2:\n"
        "    adds r1, r1, #8\n"
        "    beq 4f\n"
        "3:\n"
        "    stm r0!, {r2}\n"
        "    subs r1, r1, #1\n"
        "    bne 3b\n"
        "4:\n"
        "    pop {r4-r5}\n"
        "    bx lr\n"
        ".size esnn_clear, . - esnn_clear\n"
        ".text\n");

/* Only 8 columns of each tile: the low registers are too few for more.
 * Registers: r0 row, r1 and r2 weights, r4 events, r5 and r6 masks, r8 to r11 even and odd sums,
 * r12 rows, lr end. Stack: 0 events, 4 rows, 8 end, 12 current, 16 registers, 52 stride, 56 last,
 * 60 factor (a shift), 64 even, 68 odd. */
__asm__(".syntax unified\n"
        ".section .text.esnn_tiles,\"ax\",%progbits\n"
        ".macro event at\n"
        "    ldrh r0, [r4, #\\at]\n"
        "    lsls r0, r0, #4\n"
        "    add r0, r0, r12\n"
        "    ldm r0!, {r1, r2}\n"
        "    eors r1, r1, r5\n"
        "    lsrs r3, r1, #8\n"
        "    add r9, r9, r3\n"
        "    ands r1, r1, r6\n"
        "    add r8, r8, r1\n"
        "    eors r2, r2, r5\n"
        "    lsrs r3, r2, #8\n"
        "    add r11, r11, r3\n"
        "    ands r2, r2, r6\n"
        "    add r10, r10, r2\n"
        ".endm\n"
        ".macro add_two a b\n"
        "    ldr r5, [r4]\n"
        "    ldr r6, [r4, #4]\n"
        "    adds r5, r5, \\a\n"
        "    adds r6, r6, \\b\n"
        "    stm r4!, {r5, r6}\n"
        ".endm\n"
        ".macro fold even odd\n"
        "    mov r1, \\even\n"
        "    mov r2, \\odd\n"
        "    sxth r0, r1\n"
        "    subs r1, r1, r0\n"
        "    asrs r1, r1, #16\n"
        "    lsls r3, r1, #8\n"
        "    subs r2, r2, r3\n"
        "    sxth r3, r2\n"
        "    subs r2, r2, r3\n"
        "    asrs r2, r2, #16\n"
        "    lsls r0, r0, r7\n"
        "    lsls r1, r1, r7\n"
        "    lsls r2, r2, r7\n"
        "    lsls r3, r3, r7\n"
        "    add_two r0, r3\n"
        "    add_two r1, r2\n"
        ".endm\n"
        ".balign 4\n"
        ".global esnn_tiles\n"
        ".thumb_func\n"
        ".type esnn_tiles, %function\n"
        "esnn_tiles:\n"
        "    push {r4-r7, lr}\n"
        "    mov r4, r8\n"
        "    mov r5, r9\n"
        "    mov r6, r10\n"
        "    mov r7, r11\n"
        "    push {r0-r7}\n"
        "    mov r12, r1\n"
        "    mov lr, r2\n"
        "1:\n"
        "    ldr r5, [sp, #64]\n"
        "    ldr r6, [sp, #68]\n"
        "    mov r8, r5\n"
        "    mov r9, r6\n"
        "    mov r10, r5\n"
        "    mov r11, r6\n"
        "    ldr r5, 5f\n"
        "    ldr r6, 6f\n"
        "    ldr r4, [sp]\n"
        "    mov r0, lr\n"
        "    subs r0, r0, r4\n"
        "    lsls r0, r0, #30\n" /* negative: an odd number of events */
        "    bpl 2f\n"
        "    subs r4, r4, #2\n"
        "    b 3f\n"
        "2:\n"
        "    event 0\n"
        "3:\n"
        "    event 2\n"
        "    adds r4, r4, #4\n"
        "    cmp r4, lr\n"
        "    bne 2b\n"
        "    ldr r4, [sp, #12]\n"
        "    ldr r7, [sp, #60]\n"
        "    fold r8, r9\n"
        "    fold r10, r11\n"
        "    adds r4, r4, #32\n"
        "    str r4, [sp, #12]\n"
        "    ldr r0, [sp, #52]\n"
        "    add r12, r12, r0\n"
        "    ldr r0, [sp, #56]\n"
        "    cmp r4, r0\n"
        "    bne 1b\n"
        "    add sp, sp, #16\n"
        "    pop {r0-r3}\n"
        "    mov r8, r0\n"
        "    mov r9, r1\n"
        "    mov r10, r2\n"
        "    mov r11, r3\n"
        "    pop {r4-r7, pc}\n"
        ".balign 4\n"
        "5: .word 0x80808080\n"
        "6: .word 0x00ff00ff\n"
        ".size esnn_tiles, . - esnn_tiles\n"
        ".text\n");

/* Registers: r0 to r3 row and weights, r4 events, r5 mask, r6 to lr for each word the sums of all
 * and of the high halves. Stack as above. */
__asm__(".syntax unified\n"
        ".section .text.esnn_tiles4,\"ax\",%progbits\n"
        ".macro sum4 operation all high w\n"
        "    \\operation \\all, \\w\n"
        "    ands \\w, \\w, r5\n"
        "    lsrs \\w, \\w, #4\n"
        "    \\operation \\high, \\w\n"
        ".endm\n"
        ".macro event4 operation at\n"
        "    ldrh r0, [r4, #\\at]\n"
        "    ldr r1, [sp, #72]\n"
        "    lsls r0, r0, #4\n"
        "    adds r0, r0, r1\n"
        "    ldm r0, {r0-r3}\n"
        "    sum4 \\operation, r6, r7, r0\n"
        "    sum4 \\operation, r8, r9, r1\n"
        "    sum4 \\operation, r10, r11, r2\n"
        "    sum4 \\operation, r12, lr, r3\n"
        ".endm\n"
        ".macro widen4 all high\n"
        "    mov r0, \\all\n"
        "    mov r1, \\high\n"
        "    lsls r2, r1, #4\n"
        "    subs r0, r0, r2\n"
        "    lsrs r2, r0, #8\n"
        "    lsrs r3, r1, #8\n"
        "    ands r0, r0, r5\n"
        "    ands r1, r1, r5\n"
        "    ldm r4!, {r6, r7}\n"
        "    adds r0, r0, r6\n"
        "    adds r1, r1, r7\n"
        "    ldm r4!, {r6, r7}\n"
        "    adds r2, r2, r6\n"
        "    adds r3, r3, r7\n"
        "    subs r4, r4, #16\n"
        "    stm r4!, {r0-r3}\n"
        ".endm\n"
        ".macro add_one at a\n"
        "    lsls \\a, \\a, r7\n"
        "    ldr r6, [r4, #\\at]\n"
        "    adds r6, r6, \\a\n"
        "    str r6, [r4, #\\at]\n"
        ".endm\n"
        ".macro fold4 k\n"
        "    ldr r0, [r5, #4 * \\k]\n"
        "    ldr r1, [r5, #4 * \\k + 8]\n"
        "    sxth r2, r0\n"
        "    subs r0, r0, r2\n"
        "    asrs r0, r0, #16\n"
        "    lsls r3, r0, #8\n"
        "    subs r1, r1, r3\n"
        "    sxth r3, r1\n"
        "    subs r1, r1, r3\n"
        "    asrs r1, r1, #16\n"
        "    add_one 4 * \\k, r2\n"
        "    add_one 4 * \\k + 8, r3\n"
        "    add_one 4 * \\k + 64, r0\n"
        "    add_one 4 * \\k + 72, r1\n"
        ".endm\n"
        ".balign 4\n"
        ".global esnn_tiles4\n"
        ".thumb_func\n"
        ".type esnn_tiles4, %function\n"
        "esnn_tiles4:\n"
        "    push {r4-r7, lr}\n"
        "    mov r4, r8\n"
        "    mov r5, r9\n"
        "    mov r6, r10\n"
        "    mov r7, r11\n"
        "    push {r0-r7}\n"
        "    sub sp, sp, #68\n"
        "1:\n"
        "    ldr r0, [sp, #132]\n"
        "    ldr r2, [sp, #136]\n"
        "    mov r1, r0\n"
        "    mov r3, r2\n"
        "    mov r4, sp\n"
        "    stm r4!, {r0-r3}\n"
        "    stm r4!, {r0-r3}\n"
        "    stm r4!, {r0-r3}\n"
        "    stm r4!, {r0-r3}\n"
        "    ldr r4, [sp, #68]\n"
        "2:\n"
        "    ldr r5, 15f\n"
        "    event4 mov 0\n"
        "    adds r4, r4, #2\n"
        "    movs r0, #32\n"
        "    adds r0, r0, r4\n"
        "    ldr r1, [sp, #76]\n"
        "    cmp r0, r1\n"
        "    bls 3f\n"
        "    mov r0, r1\n"
        "3:\n"
        "    str r0, [sp, #64]\n"
        "    subs r0, r0, r4\n"
        "    beq 10f\n"
        "    lsls r0, r0, #30\n" /* carry and negative: how many are left, modulo 4 */
        "    bcs 4f\n"
        "    bpl 6f\n"
        "    subs r4, r4, #6\n"
        "    b 9f\n"
        "4:\n"
        "    bmi 5f\n"
        "    subs r4, r4, #4\n"
        "    b 8f\n"
        "5:\n"
        "    subs r4, r4, #2\n"
        "    b 7f\n"
        "6:\n"
        "    event4 add 0\n"
        "7:\n"
        "    event4 add 2\n"
        "8:\n"
        "    event4 add 4\n"
        "9:\n"
        "    event4 add 6\n"
        "    adds r4, r4, #8\n"
        "    ldr r0, [sp, #64]\n"
        "    cmp r4, r0\n"
        "    bne 6b\n"
        "10:\n"
        "    mov r4, sp\n"
        "    ldr r5, 16f\n"
        "    widen4 r6, r7\n"
        "    widen4 r8, r9\n"
        "    widen4 r10, r11\n"
        "    widen4 r12, lr\n"
        "    ldr r4, [sp, #64]\n"
        "    ldr r0, [sp, #76]\n"
        "    cmp r4, r0\n"
        "    beq 11f\n"
        "    b 2b\n"
        "11:\n"
        "    ldr r4, [sp, #80]\n"
        "    mov r5, sp\n"
        "    ldr r7, [sp, #128]\n"
        "    add r0, sp, #64\n"
        "    mov r8, r0\n"
        "12:\n"
        "    fold4 0\n"
        "    fold4 1\n"
        "    adds r4, r4, #16\n"
        "    adds r5, r5, #16\n"
        "    cmp r5, r8\n"
        "    bne 12b\n"
        "    adds r4, r4, #64\n"
        "    str r4, [sp, #80]\n"
        "    ldr r0, [sp, #72]\n"
        "    ldr r1, [sp, #120]\n"
        "    adds r0, r0, r1\n"
        "    str r0, [sp, #72]\n"
        "    ldr r0, [sp, #124]\n"
        "    cmp r4, r0\n"
        "    beq 13f\n"
        "    b 1b\n"
        "13:\n"
        "    add sp, sp, #84\n"
        "    pop {r0-r3}\n"
        "    mov r8, r0\n"
        "    mov r9, r1\n"
        "    mov r10, r2\n"
        "    mov r11, r3\n"
        "    pop {r4-r7, pc}\n"
        ".balign 4\n"
        "15: .word 0xf0f0f0f0\n"
        "16: .word 0x00ff00ff\n"
        ".size esnn_tiles4, . - esnn_tiles4\n"
        ".text\n");

/* With v = 2^16 h + l, v * decay rounded is h * 2 decay + (l * decay >> 15), and 1 where the last
 * bit shifted out, which is then the carry, was set.
 * Registers: r0 v, r1 current, r2 threshold, r3 decay, r4 2 decay, r8 end, r9 events, r10 where v
 * started, 4 ahead. */
#define LIF_FOURS(NAME, SATURATE)                \
    ".section .text." NAME ",\"ax\",%progbits\n" \
    ".balign 4\n"                                \
    ".global " NAME "\n"                         \
    ".thumb_func\n"                              \
    ".type " NAME ", %function\n"                \
    "" NAME ":\n"                                \
    "    push {r4-r7, lr}\n"                     \
    "    mov r4, r8\n"                           \
    "    mov r5, r9\n"                           \
    "    mov r6, r10\n"                          \
    "    push {r4-r6}\n"                         \
    "    ldr r4, [sp, #32]\n"                    \
    "    mov r8, r4\n"                           \
    "    ldr r4, [sp, #36]\n"                    \
    "    mov r9, r4\n"                           \
    "    adds r4, r0, #4\n"                      \
    "    mov r10, r4\n"                          \
    "    lsrs r3, r3, #16\n"                     \
    "    lsls r4, r3, #1\n"                      \
    "1:\n"                                       \
    "    neuron 0, " SATURATE "\n"               \
    "    neuron 1, " SATURATE "\n"               \
    "    neuron 2, " SATURATE "\n"               \
    "    neuron 3, " SATURATE "\n"               \
    "    cmp r0, r8\n"                           \
    "    bne 1b\n"                               \
    "    mov r0, r9\n"                           \
    "    pop {r4-r6}\n"                          \
    "    mov r8, r4\n"                           \
    "    mov r9, r5\n"                           \
    "    mov r10, r6\n"                          \
    "    pop {r4-r7, pc}\n"                      \
    ".if " SATURATE "\n"                         \
    "    saturate 0\n"                           \
    "    saturate 1\n"                           \
    "    saturate 2\n"                           \
    "    saturate 3\n"                           \
    ".endif\n"                                   \
    "    spike 0\n"                              \
    "    spike 1\n"                              \
    "    spike 2\n"                              \
    "    spike 3\n"                              \
    ".size " NAME ", . - " NAME "\n"             \
    ".text\n"

__asm__(".syntax unified\n"
        ".macro neuron k saturate\n"
        "    ldr r5, [r0]\n"
        "    uxth r6, r5\n"
        "    asrs r5, r5, #16\n"
        "    muls r5, r4, r5\n"
        "    muls r6, r3, r6\n"
        "    ldm r1!, {r7}\n"
        "    adds r5, r5, r7\n"
        "    lsrs r6, r6, #15\n"
        "    adcs r5, r5, r6\n"
        ".if \\saturate\n"
        "    adds r6, r5, r5\n"
        "    bvs 1\\k\\()f\n"
        "2\\k\\():\n"
        ".endif\n"
        "    stm r0!, {r5}\n"
        "    ldm r2!, {r7}\n"
        "    cmp r5, r7\n"
        "    bgt 3\\k\\()f\n"
        "4\\k\\():\n"
        ".endm\n"
        ".macro saturate k\n"
        "1\\k\\():\n"
        "    asrs r5, r5, #31\n"
        "    movs r7, #1\n"
        "    lsls r7, r7, #30\n"
        "    subs r7, r7, #1\n"
        "    eors r5, r5, r7\n"
        "    b 2\\k\\()b\n"
        ".endm\n"
        ".macro spike k\n"
        "3\\k\\():\n"
        "    mov r6, r10\n"
        "    subs r6, r0, r6\n"
        "    lsrs r6, r6, #2\n"
        "    mov r7, r9\n"
        "    strh r6, [r7]\n"
        "    adds r7, r7, #2\n"
        "    mov r9, r7\n"
        "    b 4\\k\\()b\n"
        ".endm\n" LIF_FOURS("esnn_lif_fours", "0") LIF_FOURS("esnn_lif_saturating_fours", "1"));

/* Registers: r0 v, r1 how many are left, r2 decay, r3 2 decay, r4 what changed. */
__asm__(".syntax unified\n"
        ".section .text.esnn_decay,\"ax\",%progbits\n"
        ".macro decay\n"
        "    ldr r5, [r0]\n"
        "    uxth r6, r5\n"
        "    asrs r7, r5, #16\n"
        "    muls r7, r3, r7\n"
        "    muls r6, r2, r6\n"
        "    lsrs r6, r6, #15\n"
        "    adcs r7, r7, r6\n"
        "    eors r5, r5, r7\n"
        "    orrs r4, r4, r5\n"
        "    stm r0!, {r7}\n"
        ".endm\n"
        ".balign 4\n"
        ".global esnn_decay\n"
        ".thumb_func\n"
        ".type esnn_decay, %function\n"
        "esnn_decay:\n"
        "    push {r4-r7}\n"
        "    lsls r3, r2, #1\n"
        "    movs r4, #0\n"
        "    subs r1, r1, #4\n"
        "    blt 2f\n"
        "1:\n"
        "    decay\n"
        "    decay\n"
        "    decay\n"
        "    decay\n"
        "    subs r1, r1, #4\n"
        "    bge 1b\n"
        "2:\n"
        "    adds r1, r1, #4\n"
        "    beq 4f\n"
        "3:\n"
        "    decay\n"
        "    subs r1, r1, #1\n"
        "    bne 3b\n"
        "4:\n"
        "    mov r0, r4\n"
        "    pop {r4-r7}\n"
        "    bx lr\n"
        ".size esnn_decay, . - esnn_decay\n"
        ".text\n");

#endif
