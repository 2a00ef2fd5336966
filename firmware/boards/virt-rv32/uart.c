/* The driver of the ns16550 UART.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "cpu.h"
#include "link.h"
#include "machine.h"

/* data and interrupts are the divider while control says so */
typedef struct {
    uint8_t data, interrupts, fifo, control, modem, state;
} uart_registers;

#define UART ((volatile uart_registers *)0x10000000u)
#define DIVIDER 2u /* of 3.6864 MHz by 16 */

enum { RECEIVE_INTERRUPT = 1, SEND_INTERRUPT = 2 }; /* interrupts */
enum { EIGHT_BITS = 0x03, DIVIDER_ACCESS = 0x80 };  /* control */
enum { RECEIVE_FULL = 0x01, SEND_EMPTY = 0x20 };    /* state */

void uart_start(void) {
    UART->control = DIVIDER_ACCESS | EIGHT_BITS;
    UART->data = DIVIDER;
    UART->interrupts = 0;
    UART->control = EIGHT_BITS;
    /* in this order: QEMU's PLIC does not pass on what was pending before it was let in */
    cpu_enable(UART_IRQ);
    UART->interrupts = RECEIVE_INTERRUPT;
}

/* an empty UART raises the interrupt at once */
void uart_wake(void) { UART->interrupts = RECEIVE_INTERRUPT | SEND_INTERRUPT; }

void uart_interrupt(void) {
    uint8_t byte;
    while ((UART->state & RECEIVE_FULL) != 0) {
        link_received(UART->data);
    }
    while ((UART->state & SEND_EMPTY) != 0) {
        if (!link_next(&byte)) {
            UART->interrupts = RECEIVE_INTERRUPT;
            break;
        }
        UART->data = byte;
    }
}
