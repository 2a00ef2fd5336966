/* The flash that keeps models on a board without an operating system, and how it starts anew.
 * machine.h says where that flash is: STORE_BASE, STORE_BYTES, STORE_PAGE, STORE_UNIT.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_FLASH_H
#define ESNN_FLASH_H

#include <stddef.h>
#include <stdint.h>

/* The driver, as store.h wants it. */
int flash_program(uint32_t at, const uint8_t *data, size_t n);
int flash_erase(uint32_t at);

/* Start the processor anew. */
void cpu_restart(void);

/* As `watch` of store.h: a board with BOARD_WATCHDOG in its machine.h has it. */
void watchdog_set(uint32_t seconds);

/* As `check` of store.h: a board with BOARD_CHECK in its machine.h has one of its own. */
int board_check(const uint8_t *signature, const uint8_t *key, const uint8_t *data, size_t size);

#endif
