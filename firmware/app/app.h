/* The stream app: holds one model, takes frames from a host, steps the core and answers.
 * The protocol is docs/protocol.md; the same code runs on every board and as the virtual board.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_APP_H
#define ESNN_APP_H

#include <stddef.h>
#include <stdint.h>

#include "store.h"

/* Memory that the board lends to the app; each must start at a multiple of 4. */
typedef struct {
    uint8_t *model; /* the slot that an uploaded image is kept in */
    size_t model_size;
    uint8_t *arena; /* the state of the model */
    size_t arena_size;
    uint8_t *packet; /* one received packet, and after it the answer to it */
    size_t packet_size;
    const esnn_store_config *store; /* NULL: this board keeps no models */
} esnn_app_memory;

/* Serve the link until board_read returns 0, or the store's restart returns: for ever on a
 * microcontroller. */
void esnn_app_run(const esnn_app_memory *memory);

#endif
