/* Packets of the stream protocol (docs/protocol.md): framing only, no input or output.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_PACKET_H
#define ESNN_PACKET_H

#include <stddef.h>
#include <stdint.h>

#define ESNN_PACKET_HEAD 3u /* type, sequence number */
#define ESNN_PACKET_TAIL 4u /* CRC-32 */

/* Takes bytes as they arrive and puts packets together in a buffer that the caller owns. */
typedef struct {
    uint8_t *data; /* a whole packet here: type, sequence number, payload */
    size_t capacity;
    size_t length; /* of the packet without its CRC, once one is whole */
    uint32_t bad;  /* damaged or oversized packets dropped so far */
    uint8_t code;  /* length byte of the block being read, 0 at the start of a packet */
    uint8_t left;  /* bytes of that block still to come */
    uint8_t skip;  /* the packet is already known to be bad */
} esnn_decoder;

void esnn_decoder_init(esnn_decoder *d, uint8_t *data, size_t capacity);

/* One byte from the link. 1: a good packet lies in data, until the next call. */
int esnn_decode(esnn_decoder *d, uint8_t byte);

/* Put the CRC behind a packet of `length` bytes; there must be room for it. Returns the length. */
size_t esnn_seal(uint8_t *data, size_t length);

/* Where encoded bytes go, in order. */
typedef void esnn_sink(void *context, const uint8_t *data, size_t size);

/* Hand a sealed packet, stuffed and with its delimiter, to a sink, piece by piece. */
void esnn_encode(const uint8_t *data, size_t length, esnn_sink *sink, void *context);

#endif
