/* Interrupts and sleep of a RISC-V hart in machine mode, its interrupts from a PLIC.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_CPU_H
#define ESNN_CPU_H

#include <stdint.h>

#include "hart.h"

#define PLIC_PRIORITY ((volatile uint32_t *)0x0c000000u)
#define PLIC_ENABLE ((volatile uint32_t *)0x0c002000u)
#define PLIC_CLAIM (*(volatile uint32_t *)0x0c200004u)

#define MACHINE_EXTERNAL 11u /* the cause of an interrupt, and its bit in mie */

static inline void cpu_enable(uint32_t irq) {
    PLIC_PRIORITY[irq] = 1; /* above the threshold, which starts at 0 */
    PLIC_ENABLE[irq / 32u] = 1u << irq % 32u;
    __asm__ volatile("csrs mie, %0" ::"r"(1u << MACHINE_EXTERNAL));
}

#endif
