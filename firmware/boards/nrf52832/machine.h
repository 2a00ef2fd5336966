/* Nordic nRF52832, a Cortex-M4 with 64 KB of RAM and 512 KB of flash, with the pins of its
 * development kit (PCA10040). Built, and run nowhere yet.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_MACHINE_H
#define ESNN_MACHINE_H

#define MODEL_BYTES (24 * 1024)
#define ARENA_BYTES (16 * 1024)
#define PACKET_BYTES 1040
#define RING 1024u

/* models are kept in the upper half of the flash */
#define STORE_BASE 0x40000u
#define STORE_BYTES 0x40000u
#define STORE_PAGE 4096u

#define PIN_SEND 6
#define PIN_RECEIVE 8

#include "nrf.h"

#endif
