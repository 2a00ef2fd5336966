/* The driver of UART0, whose pins the ROM has set up.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "cpu.h"
#include "link.h"
#include "machine.h"

#define UART(offset) (*(volatile uint32_t *)(0x60000000u + (offset)))

enum {
    DATA = 0x00,
    INTERRUPTS_ON = 0x0c,
    ACKNOWLEDGE = 0x10,
    DIVIDER = 0x14,
    STATE = 0x1c,
    CONFIGURATION = 0x24,
    CLOCK = 0x78
};

#define RECEIVED (1u << 0)        /* as many as CONFIGURATION says */
#define SEND_LOW (1u << 1)        /* fewer are left than it says */
#define RECEIVED_LITTLE (1u << 8) /* and nothing for a while */
#define RECEIVE_COUNT(state) ((state) & 0x3ffu)
#define SEND_COUNT(state) ((state) >> 16 & 0x3ffu)
#define FIFO 128u
#define AT_32_AND_16_AND_A_WHILE (32u | 16u << 9 | 1u << 21)
#define CLOCK_IS_CRYSTAL (3u << 20 | 1u << 22 | 1u << 24 | 1u << 25)
#define BAUD_115200 (347u | 4u << 20) /* 40 MHz by 347 and 4 / 16 */

void uart_start(void) {
    UART(CLOCK) = CLOCK_IS_CRYSTAL;
    UART(DIVIDER) = BAUD_115200;
    UART(CONFIGURATION) = AT_32_AND_16_AND_A_WHILE;
    UART(ACKNOWLEDGE) = ~0u;
    UART(INTERRUPTS_ON) = RECEIVED | RECEIVED_LITTLE;
    cpu_enable(UART_IRQ, UART_SOURCE);
    cpu_unmask();
}

/* a UART with little to send raises the interrupt at once */
void uart_wake(void) { UART(INTERRUPTS_ON) = RECEIVED | RECEIVED_LITTLE | SEND_LOW; }

void uart_interrupt(void) {
    uint8_t byte;
    while (RECEIVE_COUNT(UART(STATE)) > 0) {
        link_received((uint8_t)UART(DATA));
    }
    while (SEND_COUNT(UART(STATE)) < FIFO - 1u) {
        if (!link_next(&byte)) {
            UART(INTERRUPTS_ON) = RECEIVED | RECEIVED_LITTLE;
            break;
        }
        UART(DATA) = byte;
    }
    UART(ACKNOWLEDGE) = RECEIVED | RECEIVED_LITTLE | SEND_LOW;
}
