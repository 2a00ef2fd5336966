/* The flash of an STM32, which flash_controller.h of its family describes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "flash.h"

#include <string.h>

#include "flash_controller.h"
#include "machine.h"
#include "registers.h"

#define BUSY (1u << 16)
#define START (1u << 16)
#define LOCKED (1u << 31)
#define DATA_CACHE (1u << 10)
#define FORGET_DATA (1u << 12)

static void wait(void) {
    while ((REGISTER(FLASH, STATE) & BUSY) != 0) {
    }
}

static void unlock(void) {
    wait();
    if ((REGISTER(FLASH, CONTROL) & LOCKED) != 0) {
        REGISTER(FLASH, KEY) = 0x45670123u;
        REGISTER(FLASH, KEY) = 0xcdef89abu;
    }
    REGISTER(FLASH, STATE) = FAILED;
}

/* whether it went well */
static int finish(void) {
    wait();
    REGISTER(FLASH, CONTROL) = LOCKED;
    return (REGISTER(FLASH, STATE) & FAILED) == 0 ? 0 : -1;
}

int flash_program(uint32_t at, const uint8_t *data, size_t n) {
    unlock();
    REGISTER(FLASH, CONTROL) = PROGRAMS;
    for (size_t k = 0; k < n; k += 4) {
        uint32_t word;
        memcpy(&word, data + k, sizeof word);
        *(volatile uint32_t *)(STORE_BASE + at + k) = word;
        if ((k + 4) % PROGRAMMED_AT_ONCE == 0) {
            wait();
        }
    }
    return finish();
}

int flash_erase(uint32_t at) {
    unlock();
    REGISTER(FLASH, CONTROL) = ERASES(at / STORE_PAGE);
    REGISTER(FLASH, CONTROL) = ERASES(at / STORE_PAGE) | START;
    const int failed = finish();
    /* what the cache has of it was true before */
    REGISTER(FLASH, ACCESS) &= ~DATA_CACHE;
    REGISTER(FLASH, ACCESS) |= FORGET_DATA;
    REGISTER(FLASH, ACCESS) &= ~FORGET_DATA;
    REGISTER(FLASH, ACCESS) |= DATA_CACHE;
    return failed;
}
