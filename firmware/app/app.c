/* SPDX-License-Identifier: Apache-2.0 */
#include "app.h"

#include <string.h>

#include "board.h"
#include "esnn.h"
#include "packet.h"
#include "protocol.h"

#define STATUS_BYTES 12u
#define INFO_BYTES 16u
#define RESULT_BYTES 28u

typedef struct {
    const esnn_app_memory *memory;
    uint8_t *packet;   /* 1 byte into its memory, so that the payload starts at a multiple of 4 */
    uint32_t capacity; /* of packet */
    esnn_decoder decoder;
    esnn_model model;
    uint32_t expected; /* bytes of the image that is being received */
    uint32_t received;
    uint16_t input_size;
    uint16_t sequence; /* of the last packet that was taken */
    uint8_t loaded;
    uint8_t greeted; /* a host has said HELLO: its numbers count from there */
} app;

static void put16(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *at, uint32_t value) {
    put16(at, value);
    put16(at + 2, value >> 16);
}

static uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] | at[1] << 8); }

static uint32_t get32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* the longest payload that fits the packet buffer, and whose packet, stuffed, fits the window */
static uint32_t payload_limit(const app *a) {
    const uint32_t window = (uint32_t)board_window();
    const uint32_t stuffed = window - window / 254u - 2u;
    const uint32_t limit = a->capacity < stuffed ? a->capacity : stuffed;
    const uint32_t payload = limit - ESNN_PACKET_HEAD - ESNN_PACKET_TAIL;
    return payload < UINT16_MAX ? payload : UINT16_MAX; /* INFO tells it in 16 bits */
}

static void to_board(void *context, const uint8_t *data, size_t size) {
    (void)context;
    board_write(data, size);
}

/* every packet is answered by one with its sequence number, written over it */
static void answer(const app *a, uint8_t type, size_t payload) {
    uint8_t *packet = a->packet;
    packet[0] = type;
    esnn_encode(packet, esnn_seal(packet, ESNN_PACKET_HEAD + payload), to_board, NULL);
}

static void answer_status(const app *a, int status, uint32_t needed, uint32_t there) {
    uint8_t *packet = a->packet;
    uint8_t *payload = packet + ESNN_PACKET_HEAD;
    payload[0] = packet[0];
    payload[1] = (uint8_t)status;
    put16(payload + 2, 0);
    put32(payload + 4, needed);
    put32(payload + 8, there);
    answer(a, ESNN_STATUS, STATUS_BYTES);
}

static void on_hello(app *a) {
    uint8_t *payload = a->packet + ESNN_PACKET_HEAD;
    const char *name = board_name();
    const size_t length = strlen(name);
    a->greeted = 1;
    payload[0] = ESNN_PROTOCOL_VERSION;
    payload[1] = a->loaded;
    put16(payload + 2, payload_limit(a));
    put32(payload + 4, (uint32_t)board_window());
    put32(payload + 8, (uint32_t)a->memory->model_size);
    put32(payload + 12, (uint32_t)a->memory->arena_size);
    memcpy(payload + INFO_BYTES, name, length);
    answer(a, ESNN_INFO, INFO_BYTES + length);
}

static void on_begin(app *a, const uint8_t *payload, size_t size) {
    if (size != 4) {
        answer_status(a, ESNN_ERR_PACKET, 4, (uint32_t)size);
        return;
    }
    const uint32_t bytes = get32(payload);
    a->expected = a->received = 0;
    if (bytes > a->memory->model_size) {
        answer_status(a, ESNN_ERR_TOO_LARGE, bytes, (uint32_t)a->memory->model_size);
        return;
    }
    a->loaded = 0; /* its image is about to be overwritten */
    a->expected = bytes;
    answer_status(a, ESNN_OK, bytes, (uint32_t)a->memory->model_size);
}

static void on_data(app *a, const uint8_t *payload, size_t size) {
    if (size < 4) {
        answer_status(a, ESNN_ERR_PACKET, 4, (uint32_t)size);
        return;
    }
    const uint32_t offset = get32(payload);
    const uint32_t bytes = (uint32_t)size - 4u;
    if (offset != a->received || bytes > a->expected - a->received) {
        answer_status(a, ESNN_ERR_ORDER, a->received, offset);
        return;
    }
    memcpy(a->memory->model + offset, payload + 4, bytes);
    a->received += bytes;
    answer_status(a, ESNN_OK, a->expected, a->received);
}

static void on_end(app *a) {
    const esnn_app_memory *memory = a->memory;
    esnn_info info;
    if (a->received != a->expected || a->expected == 0) {
        answer_status(a, ESNN_ERR_ORDER, a->expected, a->received);
        return;
    }
    int status = esnn_check(memory->model, a->received, &info);
    if (status != ESNN_OK) {
        answer_status(a, status, 0, 0);
        return;
    }
    const uint32_t frame = 2u * info.input_size;
    const uint32_t result = RESULT_BYTES + 4u * info.n_scores;
    const uint32_t payload = frame > result ? frame : result;
    if (info.arena_bytes > memory->arena_size) {
        answer_status(a, ESNN_ERR_ARENA, info.arena_bytes, (uint32_t)memory->arena_size);
        return;
    }
    if (payload > payload_limit(a)) {
        answer_status(a, ESNN_ERR_TOO_LARGE, payload, payload_limit(a));
        return;
    }
    status = esnn_load(&a->model, memory->model, a->received, memory->arena, memory->arena_size);
    if (status == ESNN_OK) {
        status = esnn_selftest(&a->model);
    }
    a->loaded = status == ESNN_OK;
    a->input_size = info.input_size;
    answer_status(a, status, info.arena_bytes, (uint32_t)memory->arena_size);
}

static void on_step(app *a, uint8_t *payload, size_t size) {
    esnn_result out;
    int status = ESNN_ERR_PACKET;
    const uint32_t start = board_micros();
    if (a->packet[0] == ESNN_EVENTS) {
        if ((size & 1u) == 0) {
            status = esnn_step_events(&a->model, (const uint16_t *)(void *)payload, size / 2, &out);
        }
    } else if (size == 2u * a->input_size) {
        status = esnn_step(&a->model, (const int16_t *)(void *)payload, &out);
    }
    const uint32_t micros = board_micros() - start;
    if (status != ESNN_OK) {
        answer_status(a, status, 2u * a->input_size, (uint32_t)size);
        return;
    }
    put16(payload, out.label);
    put16(payload + 2, out.n_scores);
    put32(payload + 4, out.step);
    put32(payload + 8, out.spikes);
    put32(payload + 12, out.synops);
    put32(payload + 16, out.macs);
    put32(payload + 20, esnn_digest(&a->model, 0));
    put32(payload + 24, micros);
    for (uint16_t k = 0; k < out.n_scores; k++) {
        put32(payload + RESULT_BYTES + 4u * k, (uint32_t)out.scores[k]);
    }
    answer(a, ESNN_RESULT, RESULT_BYTES + 4u * out.n_scores);
}

static void on_packet(app *a) {
    uint8_t *payload = a->packet + ESNN_PACKET_HEAD;
    const size_t size = a->decoder.length - ESNN_PACKET_HEAD;
    const uint8_t type = a->packet[0];
    const uint16_t sequence = get16(a->packet + 1);
    const uint16_t ahead = (uint16_t)(sequence - a->sequence);
    if (type >= ESNN_STATUS) {
        return; /* an answer: this link echoes */
    }
    if (type != ESNN_HELLO && a->greeted && (ahead == 0 || ahead >= 0x8000u)) {
        return; /* a copy that the link made: nothing is run twice, nor answered twice */
    }
    a->sequence = sequence;
    if (type == ESNN_HELLO) {
        on_hello(a);
    } else if (type == ESNN_MODEL_BEGIN) {
        on_begin(a, payload, size);
    } else if (type == ESNN_MODEL_DATA) {
        on_data(a, payload, size);
    } else if (type == ESNN_MODEL_END) {
        on_end(a);
    } else if (type != ESNN_RESET && type != ESNN_FRAME && type != ESNN_EVENTS &&
               type != ESNN_SELFTEST) {
        answer_status(a, ESNN_ERR_PACKET, 0, 0);
    } else if (!a->loaded) {
        answer_status(a, ESNN_ERR_NO_MODEL, 0, 0);
    } else if (type == ESNN_RESET) {
        esnn_reset(&a->model);
        answer_status(a, ESNN_OK, 0, 0);
    } else if (type == ESNN_SELFTEST) {
        answer_status(a, esnn_selftest(&a->model), 0, 0);
    } else {
        on_step(a, payload, size);
    }
}

void esnn_app_run(const esnn_app_memory *memory) {
    uint8_t chunk[64];
    app a = {
        .memory = memory,
        .packet = memory->packet + 1,
        .capacity = (uint32_t)memory->packet_size - 1u,
    };
    esnn_decoder_init(&a.decoder, a.packet, a.capacity);
    for (;;) {
        const size_t n = board_read(chunk, sizeof chunk);
        if (n == 0) {
            return;
        }
        for (size_t k = 0; k < n; k++) {
            if (esnn_decode(&a.decoder, chunk[k])) {
                on_packet(&a);
            }
        }
    }
}
