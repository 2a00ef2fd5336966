/* What Nordic's nRF51 and nRF52 share, for the machine.h of their boards.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_NRF_H
#define ESNN_NRF_H

#define STORE_UNIT 4u
#define BOARD_WATCHDOG

#define UART_IRQ 2
#define WATCHDOG_IRQ 8 /* TIMER0 */
#define INTERRUPT_COUNT (WATCHDOG_IRQ + 1)
#define INTERRUPTS [UART_IRQ] = uart_interrupt, [WATCHDOG_IRQ] = watchdog_interrupt

void uart_interrupt(void);
void watchdog_interrupt(void);

#endif
