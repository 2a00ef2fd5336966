/* What STM32 chips share, for the machine.h of their boards. Models are kept in the upper half of
 * 1 MB of flash. SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_STM32_H
#define ESNN_STM32_H

#define STORE_BASE 0x08080000u
#define STORE_BYTES 0x80000u

#define BOARD_WATCHDOG
#define SYSTICK tick

#define INTERRUPT_COUNT (UART_IRQ + 1)
#define INTERRUPTS [UART_IRQ] = uart_interrupt

void tick(void);
void uart_interrupt(void);

#endif
