/* QEMU's machine virt: a RISC-V hart, a PLIC for its interrupts, and an ns16550 UART.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_MACHINE_H
#define ESNN_MACHINE_H

#define MODEL_BYTES (256 * 1024)
#define ARENA_BYTES (96 * 1024)
#define PACKET_BYTES (4096 + 16)
#define RING 4096u

#define STORE_BYTES (640 * 1024)
#define STORE_PAGE 4096u
#define STORE_UNIT 4u
#define STORE_BASE 0x80200000u

#define UART_IRQ 10u

void uart_interrupt(void);

#endif
