/* ARM MPS2 with the AN505 image: a Cortex-M33 at 20 MHz, as QEMU's machine mps2-an505 models it. It
 * starts in its secure state; these are the secure addresses of what is shared with the other.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_MACHINE_H
#define ESNN_MACHINE_H

#include "cmsdk.h"

#define STORE_BASE 0x38100000u
#define UART_BASE 0x50200000u
#define UART_HZ 20000000u
#define COUNTER_BASE 0x50302018u
#define COUNTER_HZ 20000000u
#define WATCHDOG_BASE 0x50081000u
#define WATCHDOG_HZ 20000000u
#define RECEIVE_IRQ 32
#define SEND_IRQ 33

#endif
