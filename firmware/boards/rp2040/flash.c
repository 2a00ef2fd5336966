/* The flash outside, by the functions in the processor's ROM, from code in RAM: while they run, no
 * code can be read from it. They program 256 bytes at once, of which those that are not meant stay
 * as they are where 0xff is written. SPDX-License-Identifier: Apache-2.0 */
#include "flash.h"

#include <string.h>

#include "cpu.h"
#include "machine.h"

#define PIECE 256u
#define CODE(a, b) ((uint32_t)(a) | (uint32_t)(b) << 8)
#define ERASE_4_KB 0x20u /* command of the flash */

typedef void nothing_function(void);
typedef void erase_function(uint32_t at, size_t n, uint32_t block, uint8_t command);
typedef void program_function(uint32_t at, const uint8_t *data, size_t n);

/* the ROM's functions that both need, all looked up before the flash is gone */
typedef struct {
    nothing_function *connect, *leave_xip, *flush, *enter_xip;
    erase_function *erase;
    program_function *program;
} rom_functions;

/* a function of the ROM by the two letters of its name */
static uintptr_t rom(uint32_t code) {
    typedef uintptr_t lookup_function(const uint16_t *table, uint32_t code);
    const uint16_t *at = (const uint16_t *)0x14; /* of the table and of what searches it */
    __asm__("" : "+r"(at));                      /* gcc takes low addresses for NULL */
    lookup_function *const lookup = (lookup_function *)(uintptr_t)at[2];
    return lookup((const uint16_t *)(uintptr_t)at[0], code);
}

/* Erase a sector, or program PIECE bytes where there are some. */
__attribute__((section(".in_ram"), noinline)) static void work(const rom_functions *f, uint32_t at,
                                                               const uint8_t *data) {
    f->connect();
    f->leave_xip();
    if (data == NULL) {
        f->erase(at, STORE_PAGE, STORE_PAGE, ERASE_4_KB);
    } else {
        f->program(at, data, PIECE);
    }
    f->flush();
    f->enter_xip();
}

static void run(uint32_t at, const uint8_t *data) {
    const rom_functions f = {
        .connect = (nothing_function *)rom(CODE('I', 'F')),
        .leave_xip = (nothing_function *)rom(CODE('E', 'X')),
        .flush = (nothing_function *)rom(CODE('F', 'C')),
        .enter_xip = (nothing_function *)rom(CODE('C', 'X')),
        .erase = (erase_function *)rom(CODE('R', 'E')),
        .program = (program_function *)rom(CODE('R', 'P')),
    };
    cpu_mask(); /* what answers interrupts is in the flash, too */
    work(&f, at, data);
    cpu_unmask();
}

int flash_program(uint32_t at, const uint8_t *data, size_t n) {
    uint8_t piece[PIECE];
    while (n > 0) {
        const uint32_t begin = at % PIECE;
        const size_t part = n < PIECE - begin ? n : PIECE - begin;
        memset(piece, 0xff, sizeof piece);
        memcpy(piece + begin, data, part);
        run(STORE_BASE - FLASH_AT + at - begin, piece);
        at += (uint32_t)part;
        data += part;
        n -= part;
    }
    return 0;
}

int flash_erase(uint32_t at) {
    run(STORE_BASE - FLASH_AT + at, NULL);
    return 0;
}
