/* The stream app behind the Nordic UART Service, with this program as the stack: what the central
 * does comes on standard input, its notifications go to standard output. Built with sanitizers;
 * tests/test_nus.py is the central.
 *
 *   to it:    'w' u16 n, n bytes: the central writes
 *             'l' u16 n: it listens, n bytes a notification; 0: it is gone
 *             'r' u16 n: the stack refuses the next n notifications
 *   from it:  u16 n, n bytes: a notification; 0: the app sleeps and nothing waits
 *
 * Its flash is that of an adapter, with memory in the place of what is below it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "app.h"
#include "board.h"
#include "keep.h"
#include "nus.h"

#define MODEL (64u * 1024u)
#define ARENA (16u * 1024u)
#define PACKET 1024u

static unsigned refusals;
static int locked;
static int woken;

static void expect(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

void nus_lock(void) { expect(!locked++, "locked twice"); }

void nus_unlock(void) { expect(locked-- == 1, "unlocked twice"); }

void nus_wake(void) {
    expect(!locked, "woken with the lock");
    woken = 1;
}

static void say(const uint8_t *data, size_t size) {
    const uint8_t head[2] = {(uint8_t)size, (uint8_t)(size >> 8)};
    expect(fwrite(head, 1, 2, stdout) == 2, "nobody reads");
    expect(fwrite(data, 1, size, stdout) == size, "nobody reads");
}

int nus_notify(const uint8_t *data, size_t size) {
    expect(!locked, "notified with the lock");
    expect(size > 0 && size <= NUS_NOTIFICATION, "a notification of a wrong size");
    if (refusals > 0) {
        refusals--;
        return 1;
    }
    say(data, size);
    return 0;
}

/* one thing that happens */
static void happen(void) {
    static uint8_t data[65535];
    uint8_t head[3];
    if (fread(head, 1, 3, stdin) != 3) {
        exit(0);
    }
    const size_t n = head[1] | (size_t)head[2] << 8;
    if (head[0] == 'w') {
        uint8_t *exact = malloc(n); /* no byte beyond goes unseen */
        expect(fread(data, 1, n, stdin) == n && (exact != NULL || n == 0), "cut short");
        for (size_t k = 0; k < n; k++) {
            exact[k] = data[k];
        }
        nus_received(exact, n);
        free(exact);
    } else if (head[0] == 'l') {
        nus_listens(n);
    } else {
        refusals = (unsigned)n;
    }
}

void nus_sleep(uint32_t milliseconds) {
    expect(!locked, "asleep with the lock");
    if (milliseconds != 0 || woken) {
        woken = 0; /* a moment passes */
        return;
    }
    say((const uint8_t *)"", 0);
    expect(fflush(stdout) == 0, "nobody reads");
    happen();
}

const char *board_name(void) { return "nus"; }

uint32_t board_micros(void) { return 0; }

esnn_sensor *board_sensor(void) { return NULL; }

int main(void) {
    const esnn_app_memory memory = {
        .model = calloc(1, MODEL),
        .model_size = MODEL,
        .arena = calloc(1, ARENA),
        .arena_size = ARENA,
        .packet = calloc(1, PACKET),
        .packet_size = PACKET,
        .store = nus_store(),
    };
    expect(memory.model != NULL && memory.arena != NULL && memory.packet != NULL, "no memory");
    for (;;) {
        esnn_app_run(&memory); /* returns to be started anew */
    }
}
