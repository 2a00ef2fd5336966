/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <string.h>

#include "esnn.h"
#include "protocol.h"

#define RECORD_PAGES 2u
#define RECORD_BYTES 32u
#define RECORD_MAGIC 0x524e5345u /* "ESNR" */
#define UPDATE_MAGIC 0x50555345u /* "ESUP" */
#define UPDATE_FORMAT 1u
#define SEAL_BYTES ESNN_UNIT_MOST

/* where the head of an update has what */
enum {
    MAGIC = ESNN_SIGNATURE_BYTES,
    FORMAT = MAGIC + 4,
    IMAGE_BYTES = MAGIC + 8,
    IMAGE_CRC = MAGIC + 12,
    VERSION = MAGIC + 16,
    REPLACES = MAGIC + 20, /* the newest version that it may take the place of */
    TARGET = MAGIC + 24,   /* name of the board that it is for, zeros behind it; or zeros: any */
    HEAD_CRC = MAGIC + 60
};

static uint32_t get32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void put32(uint8_t *at, uint32_t value) {
    for (unsigned k = 0; k < 4; k++) {
        at[k] = (uint8_t)(value >> (8u * k));
    }
}

static const esnn_flash *flash_of(const esnn_store *s) { return &s->config->flash; }

static uint32_t slot_bytes(const esnn_flash *f) {
    return (f->size / f->page - RECORD_PAGES) / 2u * f->page;
}

static uint32_t start_of(const esnn_flash *f, uint8_t slot) {
    return RECORD_PAGES * f->page + slot * slot_bytes(f);
}

static uint32_t seal_of(const esnn_flash *f, uint8_t slot) {
    return start_of(f, slot) + slot_bytes(f) - SEAL_BYTES;
}

static uint32_t last_page_of(const esnn_flash *f, uint8_t slot) {
    return start_of(f, slot) + slot_bytes(f) - f->page;
}

/* the slot that the next update goes into */
static uint8_t spare(const esnn_store *s) { return s->active == 0; }

static int program(const esnn_flash *f, uint32_t at, const uint8_t *data, uint32_t n) {
    if (f->program(at, data, n) != 0) {
        return ESNN_ERR_FLASH;
    }
    const uint8_t *there = f->read(at);
    for (uint32_t k = 0; k < n; k++) {
        if (there[k] != data[k]) {
            return ESNN_ERR_FLASH;
        }
    }
    return ESNN_OK;
}

static int is_record(const uint8_t *record) {
    return get32(record) == RECORD_MAGIC &&
           get32(record + RECORD_BYTES - 4u) == esnn_crc32(0, record, RECORD_BYTES - 4u) &&
           record[8] <= ESNN_NO_MODEL && record[9] <= ESNN_TRIAL_ON;
}

/* The record before stays as it is: it counts until the new one is whole. */
static int write_record(esnn_store *s, uint8_t active, uint8_t trial) {
    const esnn_flash *f = flash_of(s);
    const uint8_t page = s->page == 0;
    uint8_t record[RECORD_BYTES] = {0};
    put32(record, RECORD_MAGIC);
    put32(record + 4, s->sequence + 1u);
    record[8] = active;
    record[9] = trial;
    put32(record + RECORD_BYTES - 4u, esnn_crc32(0, record, RECORD_BYTES - 4u));
    if (f->erase(page * f->page) != 0 ||
        program(f, page * f->page, record, sizeof record) != ESNN_OK) {
        return ESNN_ERR_FLASH;
    }
    s->sequence++;
    s->page = page;
    s->active = active;
    s->trial = trial;
    return ESNN_OK;
}

uint32_t esnn_store_room(const esnn_flash *flash) {
    return slot_bytes(flash) - SEAL_BYTES - ESNN_IMAGE_AT;
}

uint32_t esnn_store_announced(const uint8_t *head) { return get32(head + IMAGE_BYTES); }

static void make_seal(uint8_t *seal, const uint8_t *update) {
    const uint32_t crc = esnn_crc32(0, update, ESNN_IMAGE_AT);
    memset(seal, 0, SEAL_BYTES);
    put32(seal, crc);
    put32(seal + 4, ~crc);
}

static esnn_stored stored_in(const esnn_flash *f, uint8_t slot) {
    const uint8_t *update = f->read(start_of(f, slot));
    return (esnn_stored){
        .image = update + ESNN_IMAGE_AT,
        .bytes = get32(update + IMAGE_BYTES),
        .version = get32(update + VERSION),
    };
}

/* an update that was found good once, and still is as it was */
static int is_whole(const esnn_flash *f, uint8_t slot) {
    uint8_t seal[SEAL_BYTES];
    if (slot == ESNN_NO_MODEL) {
        return 0;
    }
    const uint8_t *update = f->read(start_of(f, slot));
    const uint8_t *there = f->read(seal_of(f, slot));
    make_seal(seal, update);
    for (uint32_t k = 0; k < SEAL_BYTES; k++) {
        if (seal[k] != there[k]) {
            return 0;
        }
    }
    const esnn_stored stored = stored_in(f, slot);
    return stored.bytes <= esnn_store_room(f) &&
           esnn_crc32(0, stored.image, stored.bytes) == get32(update + IMAGE_CRC);
}

static void read_record(esnn_store *s) {
    const esnn_flash *f = flash_of(s);
    s->active = ESNN_NO_MODEL;
    for (uint8_t page = 0; page < RECORD_PAGES; page++) {
        const uint8_t *record = f->read(page * f->page);
        const uint32_t sequence = get32(record + 4);
        const uint32_t ahead = sequence - s->sequence;
        if (is_record(record) && ahead - 1u < UINT32_MAX / 2u) {
            s->sequence = sequence;
            s->page = page;
            s->active = record[8];
            s->trial = record[9];
        }
    }
}

void esnn_store_start(esnn_store *s, const esnn_store_config *config) {
    const esnn_flash *f = &config->flash;
    *s = (esnn_store){.config = config};
    read_record(s);
    const uint8_t other = spare(s);
    if (s->trial == ESNN_TRIAL_ON) { /* and nobody confirmed it: never again */
        (void)f->erase(last_page_of(f, other));
        (void)write_record(s, s->active, ESNN_TRIAL_NONE);
        s->trial =
            ESNN_TRIAL_NONE; /* also where that failed: then the next start does this again */
    } else if (s->trial == ESNN_TRIAL_NEXT && is_whole(f, other) &&
               write_record(s, s->active, ESNN_TRIAL_ON) == ESNN_OK) {
        s->running = other;
        return;
    }
    if (!is_whole(f,
                  s->active)) { /* damaged, or no record was ever written: any sealed one will do */
        s->active = is_whole(f, 0) ? 0 : is_whole(f, 1) ? 1 : ESNN_NO_MODEL;
    }
    s->running = s->active;
}

esnn_stored esnn_store_running(const esnn_store *s) {
    const esnn_stored none = {0};
    return s->running == ESNN_NO_MODEL ? none : stored_in(flash_of(s), s->running);
}

esnn_stored esnn_store_coming(const esnn_store *s) { return stored_in(flash_of(s), spare(s)); }

static int fits_target(const uint8_t *target, const char *board) {
    for (uint32_t k = 0; k < ESNN_TARGET_BYTES && target[0] != 0; k++, board++) {
        if (target[k] != (uint8_t)*board) {
            return 0;
        }
        if (target[k] == 0) {
            return 1;
        }
    }
    return 1;
}

static int check_head(const esnn_store *s, const uint8_t *update, const char *board) {
    if (get32(update + MAGIC) != UPDATE_MAGIC) {
        return ESNN_ERR_MAGIC;
    }
    if (get32(update + FORMAT) != UPDATE_FORMAT) {
        return ESNN_ERR_VERSION;
    }
    if (get32(update + HEAD_CRC) != esnn_crc32(0, update + MAGIC, HEAD_CRC - MAGIC)) {
        return ESNN_ERR_CRC;
    }
    if (get32(update + IMAGE_BYTES) > esnn_store_room(flash_of(s))) {
        return ESNN_ERR_TOO_LARGE;
    }
    if (!fits_target(update + TARGET, board)) {
        return ESNN_ERR_TARGET;
    }
    if (s->active != ESNN_NO_MODEL &&
        get32(update + REPLACES) < stored_in(flash_of(s), s->active).version) {
        return ESNN_ERR_DOWNGRADE;
    }
    return ESNN_OK;
}

int esnn_store_begin(esnn_store *s, const uint8_t *head, const char *board) {
    const esnn_flash *f = flash_of(s);
    s->receiving = 0;
    if (s->trial == ESNN_TRIAL_ON) {
        return ESNN_ERR_TRIAL; /* the other slot has what the board returns to */
    }
    int status = check_head(s, head, board);
    if (status == ESNN_OK) {
        status = esnn_store_abandon(s);
    }
    if (status == ESNN_OK && f->erase(last_page_of(f, spare(s))) != 0) {
        status = ESNN_ERR_FLASH;
    }
    if (status == ESNN_OK) {
        s->receiving = 1;
        s->received = 0;
        s->bytes = ESNN_IMAGE_AT + esnn_store_announced(head);
    }
    return status;
}

uint32_t esnn_store_prefix(const esnn_store *s, uint32_t n) {
    const esnn_flash *f = flash_of(s);
    return n > slot_bytes(f) ? 0 : esnn_crc32(0, f->read(start_of(f, spare(s))), n);
}

int esnn_store_data(esnn_store *s, uint32_t at, const uint8_t *data, uint32_t n) {
    const esnn_flash *f = flash_of(s);
    if (!s->receiving || (at != s->received && at % f->page != 0) || at > s->bytes ||
        n > s->bytes - at || (n % f->unit != 0 && n != s->bytes - at)) {
        return ESNN_ERR_ORDER;
    }
    s->received = at;
    while (n > 0) {
        const uint32_t place = start_of(f, spare(s)) + s->received;
        const uint32_t part = n < f->unit ? n : f->unit;
        uint8_t unit[ESNN_UNIT_MOST];
        memset(unit, 0xff, sizeof unit);
        memcpy(unit, data, part);
        if ((place % f->page == 0 && f->erase(place) != 0) ||
            program(f, place, unit, f->unit) != ESNN_OK) {
            s->receiving = 0;
            return ESNN_ERR_FLASH;
        }
        s->received += part;
        data += part;
        n -= part;
    }
    return ESNN_OK;
}

int esnn_store_all_here(const esnn_store *s) { return s->receiving && s->received == s->bytes; }

int esnn_store_verify(esnn_store *s, const char *board) {
    const uint8_t *update = flash_of(s)->read(start_of(flash_of(s), spare(s)));
    s->receiving = 0;
    const int status = check_head(s, update, board);
    if (status != ESNN_OK) {
        return status;
    }
    const esnn_stored coming = esnn_store_coming(s);
    if (ESNN_IMAGE_AT + coming.bytes != s->bytes ||
        esnn_crc32(0, coming.image, coming.bytes) != get32(update + IMAGE_CRC)) {
        return ESNN_ERR_CRC;
    }
    return s->config->check(update, s->config->key, update + ESNN_SIGNATURE_BYTES,
                            ESNN_HEAD_BYTES + coming.bytes) == 0
               ? ESNN_OK
               : ESNN_ERR_SIGNATURE;
}

int esnn_store_commit(esnn_store *s) {
    const esnn_flash *f = flash_of(s);
    uint8_t seal[SEAL_BYTES];
    make_seal(seal, f->read(start_of(f, spare(s))));
    const int status = program(f, seal_of(f, spare(s)), seal, sizeof seal);
    return status != ESNN_OK ? status : write_record(s, s->active, ESNN_TRIAL_NEXT);
}

int esnn_store_abandon(esnn_store *s) {
    s->receiving = 0;
    return s->trial == ESNN_TRIAL_NEXT ? write_record(s, s->active, ESNN_TRIAL_NONE) : ESNN_OK;
}

int esnn_store_confirm(esnn_store *s) {
    return s->trial == ESNN_TRIAL_ON ? write_record(s, s->running, ESNN_TRIAL_NONE) : ESNN_OK;
}
