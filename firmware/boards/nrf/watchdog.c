/* A second compare register of TIMER0 in the place of the watchdog, which these chips cannot stop
 * once a new model has proved itself. Its interrupt passes before every other.
 * SPDX-License-Identifier: Apache-2.0 */
#include "board.h"
#include "cpu.h"
#include "flash.h"
#include "machine.h"
#include "registers.h"

#define INTERRUPT_COMPARE_1 (1u << 17)

void watchdog_set(uint32_t seconds) {
    TIMER0(TIMER_INTERRUPT_OFF) = INTERRUPT_COMPARE_1;
    if (seconds > 0) {
        /* in this order: the register is equal to the count at some time before */
        TIMER0(TIMER_COMPARE_1) = board_micros() + seconds * 1000000u;
        TIMER0(TIMER_COMPARED_1) = 0;
        TIMER0(TIMER_INTERRUPT_ON) = INTERRUPT_COMPARE_1;
        cpu_enable(WATCHDOG_IRQ);
    }
}

void watchdog_interrupt(void) { cpu_restart(); }
