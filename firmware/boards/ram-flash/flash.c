/* Memory in the place of flash, for emulated machines that have no flash controller. It is behind
 * the RAM of the firmware, so that a reset leaves it alone; when the emulation ends, it is gone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "flash.h"

#include <string.h>

#include "machine.h"

#define FLASH ((uint8_t *)STORE_BASE)

int flash_program(uint32_t at, const uint8_t *data, size_t n) {
    for (size_t k = 0; k < n; k++) {
        FLASH[at + k] &= data[k]; /* as NOR flash does */
    }
    return 0;
}

int flash_erase(uint32_t at) {
    memset(FLASH + at, 0xff, STORE_PAGE);
    return 0;
}
