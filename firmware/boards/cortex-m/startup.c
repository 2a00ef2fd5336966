/* Vector table, reset and faults of any Cortex-M.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "flash.h"
#include "machine.h"
#include "start.h"

#ifndef NMI
#define NMI stop
#endif
#ifndef SYSTICK
#define SYSTICK stop
#endif

extern const uint8_t FLASH_BASE[]; /* where the vectors are, from board.mk */

void reset(void) {
#ifdef __ARM_FP
    /* let the FPU and MVE in before anything that may be vectorised runs */
    *(volatile uint32_t *)0xe000ed88u |= 0xf00000u;
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
#ifdef MAY_BE_BEHIND_BOOTLOADER
    /* what it has left: its vectors, and interrupts that may be masked */
    *(volatile uint32_t *)0xe000ed08u = (uint32_t)FLASH_BASE;
    __asm__ volatile("msr basepri, %0\n cpsie i\n" ::"r"(0) : "memory");
#endif
    start();
}

/* A fault or an exception that nobody asked for: r0 tells where, r1 which. Without a debugger the
 * breakpoint locks the core up; QEMU then prints the registers and ends. */
__attribute__((naked)) static void stop(void) {
    __asm__ volatile("ldr r0, [sp, #24]\n" /* the program counter on the exception frame */
                     "mrs r1, ipsr\n"
                     "bkpt 0\n"
                     "b .\n");
}

typedef struct {
    const void *stack_top;
    void (*exceptions[15])(void);
    void (*interrupts[INTERRUPT_COUNT])(void); /* no others are enabled */
} vector_table;

__attribute__((section(".start"), used)) static const vector_table vectors = {
    stack_top,
    {reset, NMI, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, SYSTICK},
    {INTERRUPTS},
};
