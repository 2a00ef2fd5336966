/* The decoder of packets, fed by libFuzzer: the first byte is its capacity, the rest comes from the
 * link. What it takes must come out of the encoder as a packet that it takes again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "packet.h"

#include <stdlib.h>
#include <string.h>

#define MOST 320u /* beyond a block of 254 bytes */

typedef struct {
    uint8_t bytes[2u * MOST];
    size_t n;
} wire;

static void require(int holds) {
    if (!holds) {
        abort();
    }
}

static void to_wire(void *context, const uint8_t *data, size_t size) {
    wire *w = context;
    require(size <= sizeof w->bytes - w->n);
    memcpy(w->bytes + w->n, data, size);
    w->n += size;
}

static void send_back(const uint8_t *packet, size_t length) {
    uint8_t copy[MOST], again[MOST];
    wire w = {.n = 0};
    esnn_decoder d;
    memcpy(copy, packet, length);
    esnn_encode(copy, esnn_seal(copy, length), to_wire, &w);
    esnn_decoder_init(&d, again, sizeof again);
    for (size_t k = 0; k < w.n; k++) {
        require(esnn_decode(&d, w.bytes[k]) == (k + 1 == w.n));
    }
    require(d.length == length && memcmp(again, packet, length) == 0 && d.bad == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const size_t capacity = data[0] + 8u;
    uint8_t *buffer = malloc(capacity); /* of its own: no byte beyond it goes unseen */
    esnn_decoder d;
    require(buffer != NULL);
    esnn_decoder_init(&d, buffer, capacity);
    for (size_t k = 1; k < size; k++) {
        if (esnn_decode(&d, data[k])) {
            require(d.length >= ESNN_PACKET_HEAD && d.length + ESNN_PACKET_TAIL <= capacity);
            send_back(buffer, d.length);
        }
    }
    free(buffer);
    return 0;
}
