/* The flash of an STM32F4, whose upper sectors are of 128 KB. The processor stands still while it
 * works. SPDX-License-Identifier: Apache-2.0 */
#include "flash.h"

#include <string.h>

#include "machine.h"
#include "registers.h"

#define FLASH 0x40023c00u

enum { ACCESS = 0x00, KEY = 0x04, STATE = 0x0c, CONTROL = 0x10 };

#define FIRST_SECTOR 8u /* at STORE_BASE */
#define BUSY (1u << 16)
#define FAILED 0xf2u            /* and these bits are cleared by being written */
#define PROGRAMS (1u | 2u << 8) /* words */
#define ERASES(sector) (2u | (sector) << 3)
#define START (1u << 16)
#define LOCKED (1u << 31)
#define DATA_CACHE (1u << 10)
#define FORGET_DATA (1u << 12)

static void unlock(void) {
    if ((REGISTER(FLASH, CONTROL) & LOCKED) != 0) {
        REGISTER(FLASH, KEY) = 0x45670123u;
        REGISTER(FLASH, KEY) = 0xcdef89abu;
    }
    REGISTER(FLASH, STATE) = FAILED;
}

/* whether it went well */
static int finish(void) {
    while ((REGISTER(FLASH, STATE) & BUSY) != 0) {
    }
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
        while ((REGISTER(FLASH, STATE) & BUSY) != 0) {
        }
    }
    return finish();
}

int flash_erase(uint32_t at) {
    unlock();
    REGISTER(FLASH, CONTROL) = ERASES(FIRST_SECTOR + at / STORE_PAGE);
    REGISTER(FLASH, CONTROL) = ERASES(FIRST_SECTOR + at / STORE_PAGE) | START;
    const int failed = finish();
    /* what the cache has of it was true before */
    REGISTER(FLASH, ACCESS) &= ~DATA_CACHE;
    REGISTER(FLASH, ACCESS) |= FORGET_DATA;
    REGISTER(FLASH, ACCESS) &= ~FORGET_DATA;
    REGISTER(FLASH, ACCESS) |= DATA_CACHE;
    return failed;
}
