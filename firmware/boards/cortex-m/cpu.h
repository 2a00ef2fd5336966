/* Interrupts and sleep of any Cortex-M.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_CPU_H
#define ESNN_CPU_H

#include <stdint.h>

#define NVIC_ENABLE ((volatile uint32_t *)0xe000e100u)
#define NVIC_PEND ((volatile uint32_t *)0xe000e200u)

static inline void cpu_enable(uint32_t irq) { NVIC_ENABLE[irq / 32u] = 1u << irq % 32u; }

static inline void cpu_raise(uint32_t irq) { NVIC_PEND[irq / 32u] = 1u << irq % 32u; }

static inline void cpu_mask(void) { __asm__ volatile("cpsid i" ::: "memory"); }

static inline void cpu_unmask(void) { __asm__ volatile("cpsie i" ::: "memory"); }

/* Call it with interrupts masked: a masked one ends the wfi as well, so that none that comes after
 * the mask is slept through. It runs where they are let in, and they are masked again. */
static inline void cpu_sleep(void) {
    __asm__ volatile("dsb\n wfi\n cpsie i\n isb\n cpsid i" ::: "memory");
}

#endif
