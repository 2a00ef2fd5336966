/* The stream app, fed by libFuzzer with packets that are sound and mean anything. A talk is
 *
 *   u16 n, n bytes: an image, which is made right and put into a slot
 *   u8 type, u8 n, n bytes: a packet, and so on
 *
 * Every packet that comes before its turn is answered once, by a packet that is sound.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "../right.h"
#include "app.h"
#include "board.h"
#include "packet.h"
#include "protocol.h"

#define MODEL 4096u
#define ARENA 2048u
#define PACKET 512u
#define ROUND 8u /* of the evolution: a talk must end */

typedef struct {
    const uint8_t *talk;
    size_t left;
    uint8_t wire[PACKET * 2u]; /* of the packet that is being sent */
    size_t n_wire, at_wire;
    uint8_t image[MODEL];
    size_t n_image, at_image;
    uint16_t sequence;
    uint8_t stage;
    uint32_t asked, answered;
    uint8_t answer[PACKET];
    esnn_decoder decoder;
} host;

static host the_host; /* board.h gives no place for it */

static void require(int holds) {
    if (!holds) {
        abort();
    }
}

static void to_wire(void *context, const uint8_t *data, size_t size) {
    host *h = context;
    require(size <= sizeof h->wire - h->n_wire);
    memcpy(h->wire + h->n_wire, data, size);
    h->n_wire += size;
}

static void say(host *h, uint8_t type, const uint8_t *payload, size_t n) {
    uint8_t packet[PACKET];
    packet[0] = type;
    packet[1] = (uint8_t)h->sequence;
    packet[2] = (uint8_t)(h->sequence >> 8);
    h->sequence++;
    memcpy(packet + ESNN_PACKET_HEAD, payload, n);
    h->n_wire = h->at_wire = 0;
    esnn_encode(packet, esnn_seal(packet, ESNN_PACKET_HEAD + n), to_wire, h);
    h->asked += type < ESNN_STATUS;
}

/* the next packet; 0: the talk is over */
static int next(host *h) {
    const uint32_t n_image = (uint32_t)h->n_image;
    uint8_t payload[260];
    if (h->stage == 0) {
        h->stage = 1;
        say(h, ESNN_HELLO, (const uint8_t[]){ESNN_PROTOCOL_VERSION, 0, 0, 0, 1, 2, 3, 4}, 8);
    } else if (h->stage == 1) {
        h->stage = 2;
        memcpy(payload, &n_image, 4);
        payload[4] = 0;
        say(h, ESNN_MODEL_BEGIN, payload, 5);
    } else if (h->stage == 2 && h->at_image < h->n_image) {
        const uint32_t at = (uint32_t)h->at_image;
        const size_t left = h->n_image - h->at_image, n = left < 200u ? left : 200u;
        memcpy(payload, &at, 4);
        memcpy(payload + 4, h->image + at, n);
        h->at_image += n;
        say(h, ESNN_MODEL_DATA, payload, n + 4);
    } else if (h->stage == 2) {
        h->stage = 3;
        say(h, ESNN_MODEL_END, payload, 0);
    } else {
        if (h->left < 2) {
            return 0;
        }
        const uint8_t type = h->talk[0];
        size_t n = h->talk[1];
        n = n < h->left - 2 ? n : h->left - 2;
        memcpy(payload, h->talk + 2, n);
        h->talk += n + 2;
        h->left -= n + 2;
        if (type == ESNN_HELLO) { /* its numbers are a count of their own */
            return next(h);
        }
        if (type == ESNN_EVO_RUN && n >= 4) {
            memcpy(payload, (const uint8_t[]){ROUND, 0, 0, 0}, 4);
        }
        say(h, type, payload, n);
    }
    return 1;
}

size_t board_read(uint8_t *data, size_t max) {
    host *h = &the_host;
    if (h->at_wire == h->n_wire && !next(h)) {
        return 0;
    }
    const size_t left = h->n_wire - h->at_wire, n = left < max ? left : max;
    memcpy(data, h->wire + h->at_wire, n);
    h->at_wire += n;
    return n;
}

void board_write(const uint8_t *data, size_t n) {
    host *h = &the_host;
    for (size_t k = 0; k < n; k++) {
        if (esnn_decode(&h->decoder, data[k])) {
            require(h->answer[0] >= ESNN_STATUS);
            h->answered++;
        }
    }
}

const char *board_name(void) { return "fuzz"; }
size_t board_window(void) { return 1024; }
uint32_t board_overruns(void) { return 0; }
uint32_t board_micros(void) { return 0; }
esnn_sensor *board_sensor(void) {
    static uint32_t stamps[4];
    static int16_t values[8];
    static esnn_sensor sensor = {stamps, values, 2, 4, 1000, 0};
    esnn_sensor_put(&sensor, 7, (const int16_t[]){1, -1});
    return &sensor;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    host *h = &the_host;
    if (size < 2) {
        return 0;
    }
    size_t n = (size_t)(data[0] | data[1] << 8) % MODEL;
    n = n < size - 2 ? n : size - 2;
    memset(h, 0, sizeof *h);
    memcpy(h->image, data + 2, n);
    h->n_image = n;
    h->talk = data + 2 + n;
    h->left = size - 2 - n;
    if (n >= sizeof(esnn_header)) {
        make_right(h->image, n);
    }
    esnn_decoder_init(&h->decoder, h->answer, sizeof h->answer);
    const esnn_app_memory memory = {
        .model = malloc(MODEL),
        .model_size = MODEL,
        .arena = malloc(ARENA),
        .arena_size = ARENA,
        .packet = malloc(PACKET),
        .packet_size = PACKET,
    };
    require(memory.model != NULL && memory.arena != NULL && memory.packet != NULL);
    memset(memory.model, 0, MODEL);
    esnn_app_run(&memory);
    require(h->answered == h->asked && h->decoder.bad == 0);
    free(memory.model);
    free(memory.arena);
    free(memory.packet);
    return 0;
}
