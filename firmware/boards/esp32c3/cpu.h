/* Interrupts and sleep of the ESP32-C3, by functions of its ROM.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_CPU_H
#define ESNN_CPU_H

#include <stdint.h>

#include "hart.h"

/* of the ROM, where link.ld says */
void interrupt_set_priority(int irq, int priority);
void interrupt_set_threshold(int priority);
void interrupt_enable(uint32_t irqs);
void interrupt_set_source(int cpu, uint32_t source, uint32_t irq);

static inline void cpu_enable(uint32_t irq, uint32_t source) {
    interrupt_set_source(0, source, irq);
    interrupt_set_priority((int)irq, 1);
    interrupt_set_threshold(1);
    interrupt_enable(1u << irq);
}

#endif
