/* Two models in flash, of which one is run: an update goes into the other, and whatever moment the
 * power goes at, the old or the new one runs afterwards (docs/flashing.md).
 *
 * The flash holds two pages for the commit record, then two slots of whole pages. A slot holds an
 * update as it came, which is a signature, a head and the image of a model, and at its very end the
 * seal of an update that has been found good.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_STORE_H
#define ESNN_STORE_H

#include <stddef.h>
#include <stdint.h>

#define ESNN_KEY_BYTES 32u
#define ESNN_SIGNATURE_BYTES 64u
#define ESNN_HEAD_BYTES 64u
#define ESNN_IMAGE_AT (ESNN_SIGNATURE_BYTES + ESNN_HEAD_BYTES) /* in an update */
#define ESNN_TARGET_BYTES 32u
#define ESNN_UNIT_MOST 32u
#define ESNN_NO_MODEL 2u /* in the place of a slot's number */

/* Flash that can be read like memory, since models run in it. Places are bytes from its start; an
 * erased byte is 0xff; functions return 0, or another value where the hardware reports a failure.
 * What is programmed is read back, so that a driver need not do so. */
typedef struct {
    uint32_t size; /* all of it, bytes */
    uint32_t page; /* what is erased at once, at least 64 bytes */
    uint32_t unit; /* what is programmed at once: 4 to ESNN_UNIT_MOST, a power of two */
    const uint8_t *(*read)(uint32_t at);                        /* where it lies in memory */
    int (*program)(uint32_t at, const uint8_t *data, size_t n); /* whole units, erased before */
    int (*erase)(uint32_t at);                                  /* one page */
} esnn_flash;

/* What a board gives to the app that keeps models. */
typedef struct {
    esnn_flash flash;
    const uint8_t *key; /* the public one, ESNN_KEY_BYTES */
    uint8_t
        development; /* the private key is known to all: models without signature are run, too */
    /* 0: the bytes were signed with the key */
    int (*check)(const uint8_t *signature, const uint8_t *key, const uint8_t *data, size_t size);
    /* Start the board anew in so many seconds whatever happens; 0: do not. NULL: it has no
     * watchdog. */
    void (*watch)(uint32_t seconds);
    /* Start it anew now; where it returns, so does esnn_app_run. */
    void (*restart)(void);
} esnn_store_config;

enum esnn_trial {
    ESNN_TRIAL_NONE = 0,
    ESNN_TRIAL_NEXT = 1, /* the slot that is not active is tried at the next start */
    ESNN_TRIAL_ON = 2    /* it was started, and is given up at the next start unless confirmed */
};

typedef struct {
    const esnn_store_config *config;
    uint32_t sequence; /* of the commit record */
    uint8_t page;      /* that the record is in */
    uint8_t active;    /* slot of the model that has proved itself, or ESNN_NO_MODEL */
    uint8_t trial;     /* enum esnn_trial */
    uint8_t running;   /* slot of the model that runs from this start on, or ESNN_NO_MODEL */
    uint8_t receiving; /* an update is coming */
    uint32_t received; /* bytes of it that are here */
    uint32_t bytes;    /* of all of it */
} esnn_store;

/* An image in a slot. */
typedef struct {
    const uint8_t *image;
    uint32_t bytes;   /* 0: there is none */
    uint32_t version; /* that whoever signed it gave it */
} esnn_stored;

/* Read the record and decide which model runs: the one to be tried, once, else the active one.
 * Writes down that the trial has begun before it says so. */
void esnn_store_start(esnn_store *s, const esnn_store_config *config);

/* The model that runs since the start. */
esnn_stored esnn_store_running(const esnn_store *s);

/* The model that has come: only behind esnn_store_verify that said 0. */
esnn_stored esnn_store_coming(const esnn_store *s);

/* Bytes of the image that the head of an update announces. */
uint32_t esnn_store_announced(const uint8_t *head);

/* The longest image that fits into a slot. */
uint32_t esnn_store_room(const esnn_flash *flash);

/* What follows returns 0, or a status of protocol.h or esnn.h, and leaves the running model alone
 * whatever happens. */

/* An update will come, of which these are the first ESNN_IMAGE_AT bytes. Nothing is received twice:
 * esnn_store_prefix tells what lies there already. */
int esnn_store_begin(esnn_store *s, const uint8_t *head, const char *board);

/* The CRC-32 of the first n bytes that lie in the slot of the coming update; 0 for more than it
 * holds. A host that finds it right may go on from there, at a multiple of the page. */
uint32_t esnn_store_prefix(const esnn_store *s, uint32_t n);

/* The next piece: whole units, unless it is the last. `at` may be any page's start up to the end of
 * what has been programmed since esnn_store_start; it is erased first. */
int esnn_store_data(esnn_store *s, uint32_t at, const uint8_t *data, uint32_t n);

/* Whether all of what was announced has come, and waits for esnn_store_verify. */
int esnn_store_all_here(const esnn_store *s);

/* Check all of it, which is here: head, CRC-32, signature. */
int esnn_store_verify(esnn_store *s, const char *board);

/* The image is fit for this board: seal it, and try it at the next start. */
int esnn_store_commit(esnn_store *s);

/* Give up what is coming, or what waits for its trial. */
int esnn_store_abandon(esnn_store *s);

/* The model that is on trial has proved itself. */
int esnn_store_confirm(esnn_store *s);

#endif
