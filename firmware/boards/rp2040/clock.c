/* The timer, which counts microseconds in 64 bits; and an alarm of it in the place of the watchdog,
 * which ends at 8 s. SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "board.h"
#include "cpu.h"
#include "flash.h"
#include "machine.h"
#include "registers.h"
#include "start.h"

enum { ALARM_0 = 0x10, ARMED = 0x20, LOW = 0x28, RAISED = 0x34, INTERRUPTS_ON = 0x38 };
enum { WATCHDOG_CONTROL = 0x00 };

#define TRIGGER (1u << 31)
/* what a watchdog resets: all but the two oscillators */
#define RESET_BY_WATCHDOG (*(volatile uint32_t *)0x40010008u)
#define ALL_BUT_OSCILLATORS 0x1fffcu

void clock_start(void) {} /* it runs */

uint32_t board_micros(void) { return REGISTER(TIMER, LOW); }

void watchdog_set(uint32_t seconds) {
    REGISTER(TIMER, INTERRUPTS_ON) = 0;
    REGISTER(TIMER, ARMED) = 1; /* which disarms it */
    REGISTER(TIMER, RAISED) = 1;
    if (seconds > 0) {
        REGISTER(TIMER, ALARM_0) = board_micros() + seconds * 1000000u;
        REGISTER(TIMER, INTERRUPTS_ON) = 1;
        cpu_enable(WATCHDOG_IRQ);
    }
}

void watchdog_interrupt(void) { cpu_restart(); }

/* a reset of the processor alone would leave the clocks as they are, which its boot does not expect
 */
void cpu_restart(void) {
    RESET_BY_WATCHDOG = ALL_BUT_OSCILLATORS;
    REGISTER(WATCHDOG, WATCHDOG_CONTROL) = TRIGGER;
    for (;;) {
    }
}
