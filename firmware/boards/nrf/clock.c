/* TIMER0 of nRF51 and nRF52, of 32 bits, counting microseconds.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "board.h"
#include "start.h"

#define TIMER0(offset) (*(volatile uint32_t *)(0x40008000u + (offset)))

enum { START = 0x000, CAPTURE = 0x040, WIDTH = 0x508, PRESCALER = 0x510, CAPTURED = 0x540 };

#define WIDTH_32 3u
#define DIVIDE_16 4u /* 16 MHz by 2^4 */

void clock_start(void) {
    TIMER0(WIDTH) = WIDTH_32;
    TIMER0(PRESCALER) = DIVIDE_16;
    /* this wakes QEMU's main loop as well, which else notices only at its next poll, up to 1 s from
     * now, that the UART takes bytes */
    TIMER0(START) = 1;
}

uint32_t board_micros(void) {
    TIMER0(CAPTURE) = 1;
    return TIMER0(CAPTURED);
}
