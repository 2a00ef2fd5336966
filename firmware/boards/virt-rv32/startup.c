/* Reset and traps.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "cpu.h"
#include "flash.h"
#include "machine.h"
#include "start.h"

#define TEST_DEVICE (*(volatile uint32_t *)0x00100000u)
#define TEST_FAILED 0x3333u
#define TEST_RESET 0x7777u

/* The UART's interrupt. Any other trap is one that nobody asked for: QEMU ends, its exit status
 * tells the cause. */
__attribute__((interrupt("machine"), aligned(4), used)) static void trap(void) {
    uint32_t cause;
    __asm__ volatile("csrr %0, mcause" : "=r"(cause));
    if (cause != (1u << 31 | MACHINE_EXTERNAL)) {
        TEST_DEVICE = cause << 16 | TEST_FAILED;
    }
    const uint32_t irq = PLIC_CLAIM;
    if (irq == UART_IRQ) {
        uart_interrupt();
    }
    PLIC_CLAIM = irq;
}

__attribute__((naked, section(".start"), used)) void reset(void) {
    __asm__ volatile("la sp, stack_top\n"
                     "la t0, trap\n"
                     "csrw mtvec, t0\n"
                     "j start\n");
}

void cpu_restart(void) {
    TEST_DEVICE = TEST_RESET;
    for (;;) {
    }
}
