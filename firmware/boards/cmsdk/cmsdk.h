/* What ARM's MPS2 and MPS3 boards share, for their machine.h, which says where things are.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_CMSDK_H
#define ESNN_CMSDK_H

#ifndef MODEL_BYTES /* else a build for less memory says them all */
#define MODEL_BYTES (256 * 1024)
#define ARENA_BYTES (96 * 1024)
#define PACKET_BYTES (4096 + 16)
#define RING 4096u
#endif

#define STORE_BYTES (640 * 1024)
#define STORE_PAGE 4096u
#define STORE_UNIT 4u
#define BOARD_WATCHDOG
#define NMI cpu_restart /* the watchdog has run out */

#define INTERRUPT_COUNT (SEND_IRQ + 1)
#define INTERRUPTS [RECEIVE_IRQ] = uart_receive_interrupt, [SEND_IRQ] = uart_send_interrupt

void uart_receive_interrupt(void);
void uart_send_interrupt(void);

#endif
