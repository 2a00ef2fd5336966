/* ST STM32F405, a Cortex-M4 at 168 MHz with 128 KB of RAM and 1 MB of flash, its serial line at PA9
 * and PA10. QEMU's machine netduinoplus2 models it, without clocks, pins and the flash controller.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_MACHINE_H
#define ESNN_MACHINE_H

#define MODEL_BYTES (48 * 1024)
#define ARENA_BYTES (40 * 1024)
#define PACKET_BYTES 4112
#define RING 4096u

#define STORE_PAGE 0x20000u
#define STORE_UNIT 4u

#define CPU_HZ 168000000u
#define UART_IRQ 37

#include "stm32.h"

#endif
