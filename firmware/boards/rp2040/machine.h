/* Raspberry Pi RP2040, a Cortex-M0+ at 125 MHz with 264 KB of RAM and 2 MB of flash outside, its
 * serial line at GPIO 0 and 1, as the Pico has it. Built, and run nowhere yet.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_MACHINE_H
#define ESNN_MACHINE_H

#define MODEL_BYTES (96 * 1024)
#define ARENA_BYTES (64 * 1024)
#define PACKET_BYTES 4112
#define RING 4096u

/* models are kept in the upper half of the flash */
#define FLASH_AT 0x10000000u
#define STORE_BASE 0x10100000u
#define STORE_BYTES 0x100000u
#define STORE_PAGE 4096u
#define STORE_UNIT 32u

#define BOARD_WATCHDOG
#define BOARD_RESTARTS

#define WATCHDOG_IRQ 0 /* the first alarm of the timer */
#define UART_IRQ 20
#define INTERRUPT_COUNT (UART_IRQ + 1)
#define INTERRUPTS [WATCHDOG_IRQ] = watchdog_interrupt, [UART_IRQ] = uart_interrupt

void watchdog_interrupt(void);
void uart_interrupt(void);

#endif
