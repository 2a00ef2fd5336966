/* ST STM32L476, a Cortex-M4 at 80 MHz with 96 KB of RAM (and 32 KB elsewhere) and 1 MB of flash,
 * its serial line at PA2 and PA3. Built, and run nowhere yet. SPDX-License-Identifier: Apache-2.0
 */
#ifndef ESNN_MACHINE_H
#define ESNN_MACHINE_H

#define MODEL_BYTES (40 * 1024)
#define ARENA_BYTES (32 * 1024)
#define PACKET_BYTES 2064
#define RING 2048u

#define STORE_PAGE 2048u
#define STORE_UNIT 8u

#define CPU_HZ 80000000u
#define UART_IRQ 38

#include "stm32.h"

#endif
