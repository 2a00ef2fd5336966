/* What the files of this board share: an ARM MPS2 board with the AN386 image, a Cortex-M4 at 25 MHz
 * with CMSDK peripherals, as QEMU's machine mps2-an386 models it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_MPS2_H
#define ESNN_MPS2_H

#define CLOCK_HZ 25000000u

/* The entry point that link.ld names, and what it ends in. */
void reset(void);
int main(void);

/* Start UART0: 115200 baud, interrupts on. */
void uart_start(void);

/* Interrupts 0 and 1. */
void uart_receive_interrupt(void);
void uart_send_interrupt(void);

#endif
