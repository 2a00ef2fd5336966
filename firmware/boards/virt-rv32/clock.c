/* The machine timer, which counts 10 MHz in 64 bits from reset.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "board.h"
#include "start.h"

#define TIME ((const volatile uint32_t *)0x0200bff8u)
#define TICKS_PER_MICRO 10u

void clock_start(void) {} /* it runs */

uint32_t board_micros(void) {
    uint32_t high, low;
    do {
        high = TIME[1];
        low = TIME[0];
    } while (high != TIME[1]);
    return (uint32_t)(((uint64_t)high << 32 | low) / TICKS_PER_MICRO);
}
