/* SPDX-License-Identifier: Apache-2.0 */
#include "packet.h"

#include "esnn.h"

/* consistent overhead byte stuffing: a block is a length byte n in 1..255 and n - 1 bytes that are
 * not 0; a 0 follows it in the packet unless n is 255 or the packet ends; a 0 ends the packet */
#define FULL_BLOCK 255u

void esnn_decoder_init(esnn_decoder *d, uint8_t *data, size_t capacity) {
    *d = (esnn_decoder){.data = data, .capacity = capacity};
}

static void append(esnn_decoder *d, uint8_t byte) {
    if (d->length == d->capacity) {
        d->skip = 1;
        return;
    }
    d->data[d->length++] = byte;
}

static int whole(esnn_decoder *d) {
    if (d->skip || d->left != 0 || d->length < ESNN_PACKET_HEAD + ESNN_PACKET_TAIL) {
        return 0;
    }
    const size_t length = d->length - ESNN_PACKET_TAIL;
    const uint8_t *tail = d->data + length;
    const uint32_t crc = (uint32_t)tail[0] | (uint32_t)tail[1] << 8 | (uint32_t)tail[2] << 16 |
                         (uint32_t)tail[3] << 24;
    d->length = length;
    return crc == esnn_crc32(0, d->data, length);
}

int esnn_decode(esnn_decoder *d, uint8_t byte) {
    if (byte == 0) {
        const int empty = d->code == 0; /* delimiters in a row are idle line, not packets */
        const int good = !empty && whole(d);
        const size_t length = d->length;
        d->bad += !empty && !good;
        d->code = d->left = d->skip = 0;
        d->length = good ? length : 0;
        return good;
    }
    if (d->left == 0) {
        if (d->code == 0) {
            d->length = 0;
        } else if (d->code != FULL_BLOCK) {
            append(d, 0);
        }
        d->code = byte;
        d->left = (uint8_t)(byte - 1u);
        return 0;
    }
    append(d, byte);
    d->left--;
    return 0;
}

size_t esnn_seal(uint8_t *data, size_t length) {
    const uint32_t crc = esnn_crc32(0, data, length);
    for (unsigned k = 0; k < ESNN_PACKET_TAIL; k++) {
        data[length++] = (uint8_t)(crc >> (8u * k));
    }
    return length;
}

void esnn_encode(const uint8_t *data, size_t length, esnn_sink *sink, void *context) {
    const uint8_t delimiter = 0;
    size_t at = 0;
    for (;;) {
        size_t n = 0;
        while (at + n < length && n + 1u < FULL_BLOCK && data[at + n] != 0) {
            n++;
        }
        const uint8_t code = (uint8_t)(n + 1u);
        sink(context, &code, 1);
        sink(context, data + at, n);
        at += n;
        if (at == length) {
            break;
        }
        at += code != FULL_BLOCK; /* the 0 that a short block stands for */
    }
    sink(context, &delimiter, 1);
}
