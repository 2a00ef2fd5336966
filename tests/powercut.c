/* The stream app on flash whose power is cut in the middle of an operation, whose cells wear out
 * and whose host never gives up. tests/powercut.py says what goes in.
 *
 *   powercut PAGE UNIT SIZE OLD NEW SENT EXPECTED linear SEEDS
 *   powercut PAGE UNIT SIZE OLD NEW SENT EXPECTED random RUNS SEED
 *   powercut PAGE UNIT SIZE OLD NEW SENT EXPECTED worn
 *
 * OLD is an update that is on the board before (-: none), NEW one that a host sends SENT bytes of.
 * EXPECTED is what must run when nothing is cut any more: `new`; `old`; or `back`, the old one
 * although the new one is good, because nobody confirms it. It prints the number of runs and of
 * cuts, and ends with 1 at the first moment where neither the old nor the new model runs.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"
#include "board.h"
#include "packet.h"
#include "protocol.h"
#include "signature.h"
#include "store.h"

enum { MOST_FLASH = 1 << 16, MOST_SCRIPT = 1 << 17, PIECE = 64, PACKET = 512, ARENA = 1 << 15 };
/* operations that there may be, about, so that most cuts are in one */
enum { AN_UPDATE = 130, A_START = 12 };
enum cut { BEFORE, HALF, AFTER, CUTS };

typedef struct {
    uint8_t data[MOST_FLASH];
    size_t size;
} bytes;

static uint8_t flash[MOST_FLASH];
static uint32_t arena[ARENA / 4], packet[PACKET / 4];
static bytes old, new, script;
static uint32_t sent;
static size_t script_at;
static esnn_decoder answers;
static uint8_t answer[PACKET];
static uint32_t n_cuts, n_runs;

/* power */
static jmp_buf off;
static uint32_t operations, cut_at; /* counted from 1; 0: no cut */
static enum cut cut_how;
static uint32_t dice = 1;

/* a cell that is worn out, from its next erase or program on */
static uint32_t worn_at = UINT32_MAX;
static uint8_t worn_to;

/* what the board said */
static uint8_t restarted, is_running, on_trial, selftest_passed;
static uint32_t running_version;

static uint32_t roll(void) { /* xorshift */
    dice ^= dice << 13;
    dice ^= dice >> 17;
    dice ^= dice << 5;
    return dice;
}

static void fail(const char *what) {
    fprintf(stderr, "%s: operation %u, cut %d, worn %u to %u\n", what, (unsigned)cut_at,
            (int)cut_how, (unsigned)worn_at, worn_to);
    exit(1);
}

static const uint8_t *flash_read(uint32_t at) { return flash + at; }

/* whether the operation is done to its end; with HALF, only some bits of it are */
static int has_power(uint8_t *at, const uint8_t *then, uint32_t n) {
    if (++operations != cut_at) {
        return 1;
    }
    n_cuts++;
    for (uint32_t k = 0; k < n && cut_how != BEFORE; k++) {
        const uint8_t now = at[k], done = then == NULL ? 0xff : then[k];
        /* a program clears some of its bits; an erase leaves anything */
        const uint8_t any = (uint8_t)roll(), half = then == NULL ? any : now & (done | any);
        at[k] = cut_how == AFTER ? done : half;
    }
    longjmp(off, 1);
}

static void wear(uint32_t at, uint32_t n) {
    if (worn_at >= at && worn_at < at + n) {
        flash[worn_at] = worn_to;
    }
}

static esnn_store_config store;

static int flash_program(uint32_t at, const uint8_t *data, size_t n) {
    const uint32_t unit = store.flash.unit;
    if (at % unit != 0 || n % unit != 0 || at + n > store.flash.size) {
        fail("the store programs something that is no unit");
    }
    for (uint32_t done = 0; done < n; done += unit) {
        for (uint32_t k = 0; k < unit; k++) {
            if (flash[at + done + k] != 0xff && at + done + k != worn_at) {
                fail("the store programs a unit that is not erased");
            }
        }
        (void)has_power(flash + at + done, data + done, unit);
        memcpy(flash + at + done, data + done, unit);
        wear(at + done, unit);
    }
    return 0;
}

static int flash_erase(uint32_t at) {
    if (at % store.flash.page != 0 || at >= store.flash.size) {
        fail("the store erases something that is no page");
    }
    (void)has_power(flash + at, NULL, store.flash.page);
    memset(flash + at, 0xff, store.flash.page);
    wear(at, store.flash.page);
    return 0;
}

static void restart(void) { restarted = 1; }

static esnn_store_config store = {
    .flash = {.read = flash_read, .program = flash_program, .erase = flash_erase},
    .key = esnn_public_key,
    .check = esnn_signature_check,
    .restart = restart,
};

/* the link */

const char *board_name(void) { return "powercut"; }

size_t board_window(void) { return PACKET; }

uint32_t board_overruns(void) { return 0; }

uint32_t board_micros(void) { return 0; }

esnn_sensor *board_sensor(void) { return NULL; }

size_t board_read(uint8_t *data, size_t max) {
    const size_t left = script.size - script_at;
    const size_t n = left < max ? left : max;
    memcpy(data, script.data + script_at, n);
    script_at += n;
    return n;
}

static uint32_t get32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

void board_write(const uint8_t *data, size_t n) {
    for (size_t k = 0; k < n; k++) {
        if (!esnn_decode(&answers, data[k])) {
            continue;
        }
        const uint8_t *payload = answer + ESNN_PACKET_HEAD;
        if (answer[0] == ESNN_STORED) {
            is_running = (payload[20] & ESNN_STORED_RUNS) != 0;
            on_trial = (payload[20] & ESNN_STORED_ON_TRIAL) != 0;
            running_version = get32(payload + 8);
        } else if (answer[0] == ESNN_STATUS && payload[0] == ESNN_SELFTEST) {
            selftest_passed = payload[1] == 0;
        }
    }
}

static void to_script(void *context, const uint8_t *data, size_t n) {
    (void)context;
    if (script.size + n > sizeof script.data) {
        fail("the script is too long");
    }
    memcpy(script.data + script.size, data, n);
    script.size += n;
}

static void say(uint8_t type, const void *payload, size_t n) {
    static uint8_t sequence;
    uint8_t data[PACKET] = {type, type == ESNN_HELLO ? 0 : ++sequence};
    if (type == ESNN_HELLO) {
        sequence = 0;
    }
    memcpy(data + ESNN_PACKET_HEAD, payload, n);
    esnn_encode(data, esnn_seal(data, ESNN_PACKET_HEAD + n), to_script, NULL);
}

static void start_script(void) {
    static uint32_t token;
    uint8_t hello[8] = {ESNN_PROTOCOL_VERSION};
    token++;
    memcpy(hello + 4, &token, sizeof token);
    script.size = 0;
    say(ESNN_HELLO, hello, sizeof hello);
}

/* Start the board and let the host say what is in the script. 0: the power was cut. */
static int power_on(void) {
    const esnn_app_memory memory = {
        .arena = (uint8_t *)arena,
        .arena_size = sizeof arena,
        .packet = (uint8_t *)packet,
        .packet_size = sizeof packet,
        .store = &store,
    };
    script_at = 0;
    restarted = 0;
    if (setjmp(off) != 0) {
        return 0;
    }
    esnn_app_run(&memory);
    return 1;
}

static int send_update(const bytes *update, uint32_t n) {
    start_script();
    say(ESNN_UPDATE_BEGIN, update->data, ESNN_IMAGE_AT);
    for (uint32_t at = 0; at < n; at += PIECE) {
        uint8_t piece[4 + PIECE];
        const uint32_t part = n - at < PIECE ? n - at : PIECE;
        memcpy(piece, &at, sizeof at);
        memcpy(piece + 4, update->data + at, part);
        say(ESNN_UPDATE_DATA, piece, 4 + part);
    }
    say(ESNN_UPDATE_END, "", 0);
    say(ESNN_RESTART, "", 0);
    return power_on();
}

/* Start it and see what runs; confirm a trial where that is wanted. 0: the power was cut. */
static int look(int confirm) {
    is_running = on_trial = selftest_passed = 0;
    start_script();
    say(ESNN_STORE, "", 0);
    say(ESNN_SELFTEST, "", 0);
    if (confirm) {
        say(ESNN_CONFIRM, "", 0);
    }
    if (!power_on()) {
        return 0;
    }
    if (restarted) {
        fail("a model that was committed fails its golden run");
    }
    if (is_running && !selftest_passed) {
        fail("a model that runs fails its golden run");
    }
    return 1;
}

static uint32_t version_of(const bytes *update) { return get32(update->data + 80); }

static int runs_old(void) {
    return old.size == 0 ? !is_running : is_running && running_version == version_of(&old);
}

static int runs_new(void) { return is_running && running_version == version_of(&new); }

/* One update over whatever happens; the power is cut up to `cuts` times. */
static void run(uint32_t cuts, const char *expected) {
    const int confirm = strcmp(expected, "back") != 0;
    const int may_be_new = strcmp(expected, "old") != 0;
    n_runs++;
    for (;;) {
        const uint32_t before = n_cuts;
        operations = 0;
        int whole = send_update(&new, sent);
        whole = whole && look(confirm);
        if (n_cuts == before) {
            cut_at = 0;
        }
        while (!whole) { /* power comes back, and may go again */
            if (--cuts > 0) {
                cut_at = operations + 1u + roll() % A_START;
                cut_how = (enum cut)(roll() % CUTS);
            } else {
                cut_at = 0;
            }
            whole = look(confirm && (roll() & 1) != 0);
        }
        if (!runs_old() && !(may_be_new && runs_new())) {
            fail("neither the old nor the new model runs");
        }
        if (cut_at == 0) {
            break;
        }
        cut_at = 1u + roll() % AN_UPDATE;
        cut_how = (enum cut)(roll() % CUTS);
    }
    if (worn_at != UINT32_MAX) {
        return;
    }
    cut_at =
        0; /* nothing is in the way of the next update: it ends as it would have without cuts */
    (void)look(0); /* a trial that was begun and not confirmed ends here */
    (void)send_update(&new, sent);
    (void)look(confirm);
    (void)look(0);
    if (strcmp(expected, "new") == 0 ? !runs_new() : !runs_old()) {
        fail("the wrong model runs in the end");
    }
}

static void read_file(const char *path, bytes *into) {
    FILE *file = strcmp(path, "-") == 0 ? NULL : fopen(path, "rb");
    if (file != NULL) {
        into->size = fread(into->data, 1, sizeof into->data, file);
        fclose(file);
    }
}

int main(int argc, char **argv) {
    static uint8_t before[2][MOST_FLASH]; /* with the old model in either slot */
    if (argc < 9) {
        return 2;
    }
    store.flash.page = (uint32_t)strtoul(argv[1], NULL, 0);
    store.flash.unit = (uint32_t)strtoul(argv[2], NULL, 0);
    store.flash.size = (uint32_t)strtoul(argv[3], NULL, 0);
    read_file(argv[4], &old);
    read_file(argv[5], &new);
    sent = (uint32_t)strtoul(argv[6], NULL, 0);
    const char *expected = argv[7], *mode = argv[8];
    esnn_decoder_init(&answers, answer, sizeof answer);
    memset(flash, 0, sizeof flash); /* never erased, as it may come */
    for (uint32_t slot = 0; slot < 2; slot++) {
        if (old.size > 0) {
            (void)send_update(&old, (uint32_t)old.size);
            (void)look(1);
            (void)look(0);
            if (!runs_old() || on_trial) {
                fail("the old model does not come onto the board");
            }
        }
        memcpy(before[slot], flash, sizeof flash);
    }
    if (strcmp(mode, "linear") == 0) {
        const uint32_t seeds = (uint32_t)strtoul(argv[9], NULL, 0);
        uint32_t missed = 0;
        for (uint32_t at = 1; missed == 0; at++) {
            for (uint32_t how = BEFORE; how < CUTS; how++) {
                for (uint32_t seed = 0; seed < (how == HALF ? seeds : 2); seed++) {
                    const uint32_t cuts = n_cuts;
                    memcpy(flash, before[seed & 1], sizeof flash);
                    dice = at * 2654435761u + seed + 1u;
                    cut_at = at;
                    cut_how = (enum cut)how;
                    run(1, expected);
                    missed += n_cuts == cuts;
                }
            }
        }
    } else if (strcmp(mode, "random") == 0) {
        const uint32_t runs = (uint32_t)strtoul(argv[9], NULL, 0);
        dice = (uint32_t)strtoul(argv[10], NULL, 0) * 2654435761u + 1u;
        while (n_runs < runs) {
            memcpy(flash, before[roll() & 1], sizeof flash);
            cut_at = 1u + roll() % AN_UPDATE;
            cut_how = (enum cut)(roll() % CUTS);
            run(2u + roll() % 4, expected);
        }
    } else {
        for (worn_at = 0; worn_at < store.flash.size; worn_at += 1u + roll() % 8) {
            for (uint32_t k = 0; k < 3; k++) {
                memcpy(flash, before[worn_at & 1], sizeof flash);
                worn_to = k == 0 ? 0xff : k == 1 ? 0 : (uint8_t)roll();
                cut_at = 0;
                run(0, expected);
                if (!look(0) || (!runs_old() && !runs_new())) {
                    fail("no model runs at the next start");
                }
            }
        }
    }
    printf("%u runs, %u cuts\n", (unsigned)n_runs, (unsigned)n_cuts);
    return 0;
}
