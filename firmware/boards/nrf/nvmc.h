/* The flash controller of Nordic's chips.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_NVMC_H
#define ESNN_NVMC_H

#include <stddef.h>
#include <stdint.h>

/* n bytes, whole words, erased before. */
void nvmc_program(uint32_t address, const uint8_t *data, size_t n);

/* The page that starts there. */
void nvmc_erase(uint32_t address);

#endif
