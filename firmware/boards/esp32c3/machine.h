/* Espressif ESP32-C3, an RV32IMC at 40 MHz, the frequency of its crystal, with 400 KB of RAM and
 * 4 MB of flash beside it, its serial line at GPIO 20 and 21. Built, and run nowhere yet.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_MACHINE_H
#define ESNN_MACHINE_H

#define MODEL_BYTES (192 * 1024)
#define ARENA_BYTES (96 * 1024)
#define PACKET_BYTES 4112
#define RING 4096u

/* models are kept behind the first 512 KB of the flash */
#define STORE_LOAD 0x80000u
#define STORE_BASE 0x3c080000u
#define STORE_BYTES 0x80000u
#define STORE_PAGE 4096u
#define STORE_UNIT 4u

#define BOARD_WATCHDOG

/* numbers of the processor's interrupts, and of what raises them */
#define UART_IRQ 1u
#define WATCHDOG_IRQ 2u
#define UART_SOURCE 21u
#define WATCHDOG_SOURCE 37u /* the first target of the system timer */

void watchdog_interrupt(void);
void uart_interrupt(void);

#endif
