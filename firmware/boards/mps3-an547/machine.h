/* ARM MPS3 with the AN547 image: a Cortex-M55 at 32 MHz, as QEMU's machine mps3-an547 models it. It
 * starts in its secure state; these are the secure addresses of what is shared with the other.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_MACHINE_H
#define ESNN_MACHINE_H

#include "cmsdk.h"

#define STORE_BASE 0x31000000u
#define UART_BASE 0x59303000u
#define UART_HZ 25000000u
#define COUNTER_BASE 0x59302018u
#define COUNTER_HZ 20000000u
#define WATCHDOG_BASE 0x5802e000u
#define WATCHDOG_HZ 32000u
#define RECEIVE_IRQ 33
#define SEND_IRQ 34

#endif
