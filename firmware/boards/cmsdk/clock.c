/* The free-running counter of the FPGA: 32 bits, of one microsecond once divided so. (QEMU's cycle
 * counters stand still, and SysTick wraps after 0.7 s.)
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "board.h"
#include "machine.h"
#include "start.h"

typedef struct {
    uint32_t counter, prescale;
} counter_registers;

#define COUNTER ((volatile counter_registers *)COUNTER_BASE)

void clock_start(void) { COUNTER->prescale = COUNTER_HZ / 1000000u - 1u; }

uint32_t board_micros(void) { return COUNTER->counter; }
