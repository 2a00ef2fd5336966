/* The app with its memory, all of it static, and the clock.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "app.h"
#include "board.h"
#include "mps2.h"

/* The free-running counter of the board's FPGA: 32 bits, of one microsecond once divided so.
 * (The core's own cycle counter stands still under QEMU, and SysTick wraps after 0.7 s.) */
#define FPGA_COUNTER (*(volatile uint32_t *)0x40028018u)
#define FPGA_PRESCALE (*(volatile uint32_t *)0x4002801cu)

/* of words, for their alignment */
static uint32_t model[256 * 1024 / 4], arena[96 * 1024 / 4], packet[(4096 + 16) / 4];

const char *board_name(void) { return "mps2-an386"; }

uint32_t board_micros(void) { return FPGA_COUNTER; }

int main(void) {
    const esnn_app_memory memory = {
        .model = (uint8_t *)model,
        .model_size = sizeof model,
        .arena = (uint8_t *)arena,
        .arena_size = sizeof arena,
        .packet = (uint8_t *)packet,
        .packet_size = sizeof packet,
    };
    FPGA_PRESCALE = CLOCK_HZ / 1000000u - 1u;
    uart_start();
    for (;;) {
        esnn_app_run(&memory); /* never returns here: this link has no end */
    }
}
