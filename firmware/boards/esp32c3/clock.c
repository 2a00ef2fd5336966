/* The system timer, which counts 16 MHz in 52 bits, and its first target in the place of a watchdog
 * that can be stopped. SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "board.h"
#include "cpu.h"
#include "flash.h"
#include "machine.h"
#include "start.h"

#define TIMER(offset) (*(volatile uint32_t *)(0x60023000u + (offset)))

enum {
    CONFIGURATION = 0x00,
    COPY = 0x04, /* of the count, for who reads it */
    TARGET_HIGH = 0x1c,
    TARGET_LOW = 0x20,
    TARGET_CONFIGURATION = 0x34,
    HIGH = 0x40,
    LOW = 0x44,
    TARGET_TAKE = 0x50,
    INTERRUPTS_ON = 0x64,
    ACKNOWLEDGE = 0x6c
};

#define MAKE (1u << 30)
#define MADE (1u << 29)
#define COUNTS (1u << 30 | 1u << 31)
#define TARGET_ON (1u << 24)
#define TICKS_A_MICRO 16u

void clock_start(void) { TIMER(CONFIGURATION) |= COUNTS; }

static uint64_t ticks(void) {
    TIMER(COPY) = MAKE;
    while ((TIMER(COPY) & MADE) == 0) {
    }
    return (uint64_t)TIMER(HIGH) << 32 | TIMER(LOW);
}

uint32_t board_micros(void) { return (uint32_t)(ticks() / TICKS_A_MICRO); }

void watchdog_set(uint32_t seconds) {
    TIMER(INTERRUPTS_ON) = 0;
    TIMER(CONFIGURATION) &= ~TARGET_ON;
    TIMER(ACKNOWLEDGE) = 1;
    if (seconds > 0) {
        const uint64_t end = ticks() + (uint64_t)seconds * 1000000u * TICKS_A_MICRO;
        TIMER(TARGET_CONFIGURATION) = 0; /* once, of the first counter */
        TIMER(TARGET_HIGH) = (uint32_t)(end >> 32);
        TIMER(TARGET_LOW) = (uint32_t)end;
        TIMER(TARGET_TAKE) = 1;
        TIMER(CONFIGURATION) |= TARGET_ON;
        TIMER(INTERRUPTS_ON) = 1;
        cpu_enable(WATCHDOG_IRQ, WATCHDOG_SOURCE);
    }
}

void watchdog_interrupt(void) { cpu_restart(); }
