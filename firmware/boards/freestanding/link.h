/* The link of a board without an operating system: a UART driven by interrupts in both directions,
 * and a ring of RING bytes (machine.h) for each, which the app reads and writes through board.h.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_LINK_H
#define ESNN_LINK_H

#include <stdint.h>

/* What the UART's driver calls, from its interrupts. link_next: 1 and the next byte to send, 0 if
 * there is none. */
void link_received(uint8_t byte);
int link_next(uint8_t *byte);

/* Wait until everything is sent. */
void link_drain(void);

/* What the driver gives. uart_start: 115200 baud, 8N1, interrupts on. uart_wake: there is something
 * to send; called once too often it does no harm. */
void uart_start(void);
void uart_wake(void);

#endif
