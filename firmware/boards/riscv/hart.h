/* Interrupts let in or not, and sleep, of a RISC-V hart in machine mode.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_HART_H
#define ESNN_HART_H

static inline void cpu_mask(void) { __asm__ volatile("csrci mstatus, 8" ::: "memory"); }

static inline void cpu_unmask(void) { __asm__ volatile("csrsi mstatus, 8" ::: "memory"); }

/* Call it with interrupts masked: a masked one ends the wfi as well, so that none that comes after
 * the mask is slept through. It runs where they are let in, and they are masked again. */
static inline void cpu_sleep(void) {
    __asm__ volatile("wfi" ::: "memory");
    cpu_unmask();
    cpu_mask();
}

#endif
