/* The flash beside the chip, by functions of its ROM, from code in RAM: while they run, the cache
 * through which it is read stands still. SPDX-License-Identifier: Apache-2.0 */
#include "flash.h"

#include <string.h>

#include "cpu.h"
#include "machine.h"

/* of the ROM, where link.ld says; 0: done */
int spiflash_unlock(void);
int spiflash_erase_sector(uint32_t sector);
int spiflash_write(uint32_t at, const uint32_t *data, int32_t n);
uint32_t cache_suspend(void);
void cache_resume(uint32_t before);
void cache_invalidate_all(void);

#define PIECE 64u

/* Erase a sector, or program n bytes where there are some. */
__attribute__((section(".in_ram"), noinline)) static int work(uint32_t at, const uint32_t *data,
                                                              int32_t n) {
    cpu_mask(); /* what answers interrupts is in the flash, too */
    const uint32_t before = cache_suspend();
    int status = spiflash_unlock();
    if (status == 0) {
        status =
            data == NULL ? spiflash_erase_sector(at / STORE_PAGE) : spiflash_write(at, data, n);
    }
    cache_invalidate_all();
    cache_resume(before);
    cpu_unmask();
    return status;
}

int flash_program(uint32_t at, const uint8_t *data, size_t n) {
    uint32_t piece[PIECE / 4];
    for (size_t k = 0; k < n; k += PIECE) {
        const size_t part = n - k < PIECE ? n - k : PIECE;
        memcpy(piece, data + k, part); /* it may be in the flash itself, and is of bytes */
        const int status = work(STORE_LOAD + at + (uint32_t)k, piece, (int32_t)part);
        if (status != 0) {
            return status;
        }
    }
    return 0;
}

int flash_erase(uint32_t at) { return work(STORE_LOAD + at, NULL, 0); }
