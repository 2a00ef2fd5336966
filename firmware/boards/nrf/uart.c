/* The driver of the UART of nRF51 and nRF52.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "cpu.h"
#include "link.h"
#include "machine.h"

#define UART(offset) (*(volatile uint32_t *)(0x40002000u + (offset)))

/* offsets of registers */
enum {
    START_RECEIVE = 0x000,
    START_SEND = 0x008,
    RECEIVED = 0x108,
    SENT = 0x11c,
    INTERRUPT_ON = 0x304,
    ENABLE = 0x500,
    SEND_PIN = 0x50c,
    RECEIVE_PIN = 0x514,
    RECEIVE_DATA = 0x518,
    SEND_DATA = 0x51c,
    BAUD_RATE = 0x524
};

#define ENABLE_UART 4u
#define BAUD_115200 0x01d7e000u
#define INTERRUPT_RECEIVED (1u << 2)
#define INTERRUPT_SENT (1u << 7)

static uint8_t sending; /* 1 from a byte's write to the event that tells its end */

void uart_start(void) {
    UART(SEND_PIN) = PIN_SEND;
    UART(RECEIVE_PIN) = PIN_RECEIVE;
    UART(BAUD_RATE) = BAUD_115200;
    UART(ENABLE) = ENABLE_UART;
    UART(INTERRUPT_ON) = INTERRUPT_RECEIVED | INTERRUPT_SENT;
    UART(START_SEND) = 1;
    UART(START_RECEIVE) = 1;
    cpu_enable(UART_IRQ);
}

/* the first byte is preceded by no event */
void uart_wake(void) { cpu_raise(UART_IRQ); }

void uart_interrupt(void) {
    uint8_t byte;
    /* acknowledge first: a byte that comes afterwards raises the interrupt again */
    while (UART(RECEIVED) != 0) {
        UART(RECEIVED) = 0;
        link_received((uint8_t)UART(RECEIVE_DATA));
    }
    if (UART(SENT) != 0) {
        UART(SENT) = 0;
        sending = 0;
    }
    if (!sending && link_next(&byte)) {
        sending = 1;
        UART(SEND_DATA) = byte;
    }
}
