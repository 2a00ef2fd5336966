/* The stream app at the end of standard input and output, on a board that is put together on the
 * command line. Built with sanitizers; tests/test_app.py says what must come out.
 *
 *   app MODEL ARENA PACKET WINDOW [PART...]
 *
 * MODEL, ARENA and PACKET are bytes of memory, each a heap block of exactly that size. A part is
 *
 *   flash=FILE   keeps models in pages of 256 bytes, which a FILE that is there is the start of
 *   breaks=N     whose operations fail from the Nth on
 *   watched      has a watchdog
 *   signed       takes no model without a signature; any signature will do
 *   sensor       two channels; three samples more whenever it is looked at
 *
 * What the watchdog is told goes to standard error, and every start.
 * SPDX-License-Identifier: Apache-2.0 */
#include "app.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"

enum { PAGE = 256, FLASH = 18 * PAGE, ROOM = 8 };

static uint8_t flash[FLASH];
static unsigned long window, operations, breaks;
static int has_sensor, restarted;

static const uint8_t *flash_read(uint32_t at) { return flash + at; }

static int works(void) { return breaks == 0 || ++operations < breaks; }

static int flash_program(uint32_t at, const uint8_t *data, size_t n) {
    if (works()) {
        for (size_t k = 0; k < n; k++) {
            flash[at + k] &= data[k];
        }
        return 0;
    }
    return -1;
}

static int flash_erase(uint32_t at) {
    if (works()) {
        memset(flash + at, 0xff, PAGE);
        return 0;
    }
    return -1;
}

static int any_signature(const uint8_t *signature, const uint8_t *key, const uint8_t *data,
                         size_t size) {
    (void)signature, (void)key, (void)data, (void)size;
    return 0;
}

static void watch(uint32_t seconds) { fprintf(stderr, "watch %lu\n", (unsigned long)seconds); }

static void restart(void) { restarted = 1; }

const char *board_name(void) { return "app"; }
size_t board_window(void) { return window; }
uint32_t board_overruns(void) { return 0; }

uint32_t board_micros(void) { /* a step takes ever longer, up to a turn back */
    static uint32_t now, by;
    by = by < 50 ? by + 1 : 1;
    return now += by;
}

esnn_sensor *board_sensor(void) {
    static uint32_t stamps[ROOM];
    static int16_t values[2 * ROOM];
    static esnn_sensor sensor = {stamps, values, 2, ROOM, 1000, 0};
    if (!has_sensor) {
        return NULL;
    }
    for (int16_t k = 0; k < 3; k++) {
        esnn_sensor_put(&sensor, 100u + sensor.taken, (const int16_t[]){k, (int16_t)-k});
    }
    return &sensor;
}

size_t board_read(uint8_t *data, size_t max) { return fread(data, 1, max, stdin); }

void board_write(const uint8_t *data, size_t n) {
    if (n > 0 && fwrite(data, 1, n, stdout) != n) {
        abort();
    }
}

static uint8_t *memory_of(const char *bytes, size_t *size) {
    *size = strtoul(bytes, NULL, 10);
    uint8_t *data = calloc(1, *size);
    if (data == NULL) {
        abort();
    }
    return data;
}

int main(int argc, char **argv) {
    static const uint8_t key[ESNN_KEY_BYTES] = {1};
    const char *path = NULL;
    esnn_store_config store = {
        .flash = {FLASH, PAGE, 4, flash_read, flash_program, flash_erase},
        .key = key,
        .development = 1,
        .check = any_signature,
        .restart = restart,
    };
    esnn_app_memory memory = {0};
    if (argc < 5) {
        return 2;
    }
    memory.model = memory_of(argv[1], &memory.model_size);
    memory.arena = memory_of(argv[2], &memory.arena_size);
    memory.packet = memory_of(argv[3], &memory.packet_size);
    window = strtoul(argv[4], NULL, 10);
    memset(flash, 0xff, sizeof flash);
    for (int k = 5; k < argc; k++) {
        if (strncmp(argv[k], "flash=", 6) == 0) {
            path = argv[k] + 6;
            memory.store = &store;
        } else if (strncmp(argv[k], "breaks=", 7) == 0) {
            breaks = strtoul(argv[k] + 7, NULL, 10);
        } else if (strcmp(argv[k], "watched") == 0) {
            store.watch = watch;
        } else if (strcmp(argv[k], "signed") == 0) {
            store.development = 0;
        } else if (strcmp(argv[k], "sensor") == 0) {
            has_sensor = 1;
        } else {
            return 2;
        }
    }
    FILE *file = path != NULL ? fopen(path, "rb") : NULL;
    if (file != NULL) {
        if (fread(flash, 1, sizeof flash, file) != sizeof flash) {
            return 2;
        }
        (void)fclose(file);
    }
    do {
        fputs("start\n", stderr);
        restarted = 0;
        esnn_app_run(&memory);
    } while (restarted);
    file = path != NULL ? fopen(path, "wb") : NULL;
    if (file != NULL && (fwrite(flash, 1, sizeof flash, file) != sizeof flash || fclose(file))) {
        return 2;
    }
    free(memory.model);
    free(memory.arena);
    free(memory.packet);
    return 0;
}
