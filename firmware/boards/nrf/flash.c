/* SPDX-License-Identifier: Apache-2.0 */
#include "flash.h"

#include "machine.h"
#include "nvmc.h"

int flash_program(uint32_t at, const uint8_t *data, size_t n) {
    nvmc_program(STORE_BASE + at, data, n);
    return 0;
}

int flash_erase(uint32_t at) {
    nvmc_erase(STORE_BASE + at);
    return 0;
}
