/* TIMER0 of nRF51 and nRF52, of 32 bits, counting microseconds.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "board.h"
#include "registers.h"
#include "start.h"

void clock_start(void) {
    TIMER0(TIMER_WIDTH) = TIMER_WIDTH_32;
    TIMER0(TIMER_PRESCALER) = TIMER_DIVIDE_16;
    /* this wakes QEMU's main loop as well, which else notices only at its next poll, up to 1 s from
     * now, that the UART takes bytes */
    TIMER0(TIMER_START) = 1;
}

uint32_t board_micros(void) {
    TIMER0(TIMER_CAPTURE_0) = 1;
    return TIMER0(TIMER_COMPARE_0);
}
