/* The driver of CMSDK UART0.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "cpu.h"
#include "link.h"
#include "machine.h"

#define BAUD 115200u

typedef struct {
    uint32_t data, state, control, interrupts, divider;
} uart_registers;

#define UART ((volatile uart_registers *)UART_BASE)

enum { SEND_FULL = 1, RECEIVE_FULL = 2 };                                  /* state */
enum { SEND = 1, RECEIVE = 2, SEND_INTERRUPT = 4, RECEIVE_INTERRUPT = 8 }; /* control */
enum { SENT = 1, RECEIVED = 2 };                                           /* interrupts */

void uart_start(void) {
    UART->divider = UART_HZ / BAUD;
    UART->control = SEND | RECEIVE | SEND_INTERRUPT | RECEIVE_INTERRUPT;
    /* QEMU notices only when its main loop wakes, up to 1 s from now, that bytes are taken here; a
     * read wakes it. It gives a byte that came meanwhile, or else 0, which ends an empty packet. */
    link_received((uint8_t)UART->data);
    cpu_enable(RECEIVE_IRQ);
    cpu_enable(SEND_IRQ);
}

/* an idle UART raises no interrupt */
void uart_wake(void) { cpu_raise(SEND_IRQ); }

/* both acknowledge first: a byte that comes or goes afterwards raises the interrupt again */

void uart_receive_interrupt(void) {
    UART->interrupts = RECEIVED;
    while ((UART->state & RECEIVE_FULL) != 0) {
        link_received((uint8_t)UART->data);
    }
}

void uart_send_interrupt(void) {
    uint8_t byte;
    UART->interrupts = SENT;
    while ((UART->state & SEND_FULL) == 0 && link_next(&byte)) {
        UART->data = byte;
    }
}
