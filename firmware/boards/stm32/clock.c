/* SysTick counts milliseconds, and ends a trial that takes too long: the watchdogs of these chips
 * cannot be stopped once a new model has proved itself. SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "board.h"
#include "flash.h"
#include "machine.h"
#include "start.h"

#define SYSTICK_CONTROL (*(volatile uint32_t *)0xe000e010u)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xe000e014u)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xe000e018u)
#define PENDING (*(volatile uint32_t *)0xe000ed04u & 1u << 26)
#define CYCLES_A_MICRO (CPU_HZ / 1000000u)
#define CYCLES_A_TICK (CYCLES_A_MICRO * 1000u)

enum { COUNTS = 1, INTERRUPTS_ON = 2, OF_PROCESSOR = 4 };

static volatile uint32_t milliseconds;
static volatile uint32_t left; /* milliseconds until the watchdog ends everything; 0: it is off */

void clock_start(void) {
    SYSTICK_RELOAD = CYCLES_A_TICK - 1u;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = COUNTS | INTERRUPTS_ON | OF_PROCESSOR;
}

void tick(void) {
    milliseconds++;
    if (left > 0 && --left == 0) {
        cpu_restart();
    }
}

uint32_t board_micros(void) {
    uint32_t before, value, pending;
    do { /* again where a millisecond ended meanwhile, or has ended and was not counted yet */
        before = milliseconds;
        value = SYSTICK_VALUE;
        pending = PENDING;
    } while (before != milliseconds || pending != 0);
    return before * 1000u + (CYCLES_A_TICK - 1u - value) / CYCLES_A_MICRO;
}

void watchdog_set(uint32_t seconds) { left = seconds * 1000u; }
