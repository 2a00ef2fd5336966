/* BBC micro:bit: Nordic nRF51822, a Cortex-M0 at 16 MHz with 16 KB of RAM, as QEMU's machine
 * microbit models it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_MACHINE_H
#define ESNN_MACHINE_H

/* Of the 16 KB of RAM, 1 KB goes to the rings of the link, and 1.5 KB are left for the stack. A
 * packet longer than a ring would not fit the window. */
#define MODEL_BYTES (10 * 1024)
#define ARENA_BYTES (3 * 1024)
#define PACKET_BYTES 512
#define RING 512u

/* models are kept in the upper half of the flash, in two slots of 63 KB */
#define STORE_BASE 0x20000u
#define STORE_BYTES 0x20000u
#define STORE_PAGE 1024u
#define BOARD_CHECK

#define PIN_SEND 24
#define PIN_RECEIVE 25

#include "nrf.h"

#endif
