/* The app with its memory, all of it static, in the sizes that machine.h gives.
 * SPDX-License-Identifier: Apache-2.0 */
#include "start.h"

#include <string.h>

#include "app.h"
#include "board.h"
#include "flash.h"
#include "link.h"
#include "machine.h"
#include "signature.h"
#include "store.h"

/* of words, for their alignment */
static uint32_t model[MODEL_BYTES / 4], arena[ARENA_BYTES / 4], packet[PACKET_BYTES / 4];

/* where a tool writes what the processor reads at STORE_BASE */
#ifndef STORE_LOAD
#define STORE_LOAD STORE_BASE
#endif

/* For `edgesnn flash`, which puts a model into the image of a board: see devices/firmware.py. */
__attribute__((section(".edgesnn"), used)) static const struct {
    uint32_t format, store_at, store_bytes, page, arena_bytes;
    const uint8_t *key;
    char board[32];
} about = {1, STORE_LOAD, STORE_BYTES, STORE_PAGE, ARENA_BYTES, esnn_public_key, BOARD_NAME};

const char *board_name(void) { return BOARD_NAME; }

void *arena_end(void) { return arena + sizeof arena / sizeof *arena; }

static const uint8_t *read_flash(uint32_t at) { return (const uint8_t *)STORE_BASE + at; }

static void restart(void) {
    link_drain();
    cpu_restart();
}

void start(void) {
    const esnn_store_config store = {
        .flash = {.size = STORE_BYTES,
                  .page = STORE_PAGE,
                  .unit = STORE_UNIT,
                  .read = read_flash,
                  .program = flash_program,
                  .erase = flash_erase},
        .key = esnn_public_key,
        .development = esnn_development,
#ifdef BOARD_CHECK
        .check = board_check,
#else
        .check = esnn_signature_check,
#endif
#ifdef BOARD_WATCHDOG
        .watch = watchdog_set,
#endif
        .restart = restart,
    };
    const esnn_app_memory memory = {
        .model = (uint8_t *)model,
        .model_size = sizeof model,
        .arena = (uint8_t *)arena,
        .arena_size = sizeof arena,
        .packet = (uint8_t *)packet,
        .packet_size = sizeof packet,
        .store = &store,
    };
    memcpy(data_start, data_load, (uintptr_t)data_end - (uintptr_t)data_start);
    memset(bss_start, 0, (uintptr_t)bss_end - (uintptr_t)bss_start);
    uart_start();
    clock_start();
    for (;;) {
        esnn_app_run(&memory); /* never returns here: this link has no end */
    }
}
