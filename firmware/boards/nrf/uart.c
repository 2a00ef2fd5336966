/* The driver of the UART of nRF51 and nRF52.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "cpu.h"
#include "link.h"
#include "machine.h"
#include "registers.h"

#define INTERRUPT_RECEIVED (1u << 2)
#define INTERRUPT_SENT (1u << 7)

static uint8_t sending; /* 1 from a byte's write to the event that tells its end */

void uart_start(void) {
    UART(UART_SEND_PIN) = PIN_SEND;
    UART(UART_RECEIVE_PIN) = PIN_RECEIVE;
    UART(UART_BAUD_RATE) = UART_BAUD_115200;
    UART(UART_ENABLE) = UART_ENABLED;
    UART(UART_INTERRUPT_ON) = INTERRUPT_RECEIVED | INTERRUPT_SENT;
    UART(UART_START_SEND) = 1;
    UART(UART_START_RECEIVE) = 1;
    cpu_enable(UART_IRQ);
}

/* the first byte is preceded by no event */
void uart_wake(void) { cpu_raise(UART_IRQ); }

void uart_interrupt(void) {
    uint8_t byte;
    /* acknowledge first: a byte that comes afterwards raises the interrupt again */
    while (UART(UART_RECEIVED) != 0) {
        UART(UART_RECEIVED) = 0;
        link_received((uint8_t)UART(UART_RECEIVE_DATA));
    }
    if (UART(UART_SENT) != 0) {
        UART(UART_SENT) = 0;
        sending = 0;
    }
    if (!sending && link_next(&byte)) {
        sending = 1;
        UART(UART_SEND_DATA) = byte;
    }
}
