/* ARM MPS2 with the AN500 image: a Cortex-M7 at 25 MHz, as QEMU's machine mps2-an500 models it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_MACHINE_H
#define ESNN_MACHINE_H

#include "cmsdk.h"

#define STORE_BASE 0x20200000u
#define UART_BASE 0x40004000u
#define UART_HZ 25000000u
#define COUNTER_BASE 0x40028018u
#define COUNTER_HZ 25000000u
#define WATCHDOG_BASE 0x40008000u
#define WATCHDOG_HZ 25000000u
#define RECEIVE_IRQ 0
#define SEND_IRQ 1

#endif
