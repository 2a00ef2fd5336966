/* The flash controller of the nRF51 (NVMC). The processor stands still while it works.
 * SPDX-License-Identifier: Apache-2.0 */
#include "nvmc.h"

#include <string.h>

#define NVMC(offset) (*(volatile uint32_t *)(0x4001e000u + (offset)))

enum { READY = 0x400, MODE = 0x504, ERASE_PAGE = 0x508 };
enum { READS = 0, WRITES = 1, ERASES = 2 };

static void wait(void) {
    while (NVMC(READY) == 0) {
    }
}

void nvmc_program(uint32_t address, const uint8_t *data, size_t n) {
    NVMC(MODE) = WRITES;
    for (size_t k = 0; k < n; k += 4) {
        uint32_t word;
        memcpy(&word, data + k, sizeof word);
        *(volatile uint32_t *)(address + k) = word;
        wait();
    }
    NVMC(MODE) = READS;
}

void nvmc_erase(uint32_t address) {
    NVMC(MODE) = ERASES;
    NVMC(ERASE_PAGE) = address;
    wait();
    NVMC(MODE) = READS;
}
