/* Nordic nRF52840, a Cortex-M4 with 256 KB of RAM and 1 MB of flash, with the pins of its
 * development kit (PCA10056). Built, and run nowhere yet.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_MACHINE_H
#define ESNN_MACHINE_H

#define MODEL_BYTES (96 * 1024)
#define ARENA_BYTES (64 * 1024)
#define PACKET_BYTES 4112
#define RING 4096u

/* models are kept behind the middle of the flash, before what a bootloader may have at its end */
#define STORE_BASE 0x80000u
#define STORE_BYTES 0x68000u
#define STORE_PAGE 4096u

#define MAY_BE_BEHIND_BOOTLOADER

#define PIN_SEND 6
#define PIN_RECEIVE 8

#include "nrf.h"

#endif
