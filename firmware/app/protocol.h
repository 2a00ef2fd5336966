/* Messages of the stream protocol (docs/protocol.md). devices/protocol.py mirrors these.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_PROTOCOL_H
#define ESNN_PROTOCOL_H

#define ESNN_PROTOCOL_VERSION 1

enum esnn_packet_type {
    ESNN_HELLO = 0x01,       /* u8 protocol version                  -> INFO */
    ESNN_MODEL_BEGIN = 0x02, /* u32 image bytes                      -> STATUS */
    ESNN_MODEL_DATA = 0x03,  /* u32 offset, bytes                    -> STATUS */
    ESNN_MODEL_END = 0x04,   /* check, load, self-test               -> STATUS */
    ESNN_RESET = 0x05,       /*                                      -> STATUS */
    ESNN_FRAME = 0x06,       /* i16 for each input channel           -> RESULT or STATUS */
    ESNN_EVENTS = 0x07,      /* u16 for each input channel that spikes -> RESULT or STATUS */
    ESNN_SELFTEST = 0x08,    /*                                      -> STATUS */
    ESNN_STATUS = 0x80,      /* u8 request type, i8 status, u16 0, u32 needed, u32 there */
    ESNN_INFO = 0x81,        /* u8 protocol version, u8 model loaded, u16 largest payload,
                                u32 window, u32 model bytes, u32 arena bytes, name */
    ESNN_RESULT = 0x82       /* u16 label, u16 scores, u32 step, u32 spikes, u32 synops, u32 macs,
                                u32 digest, u32 microseconds, i32 for each score */
};

/* Statuses of the app, beside the core's (esnn.h). */
enum esnn_app_status {
    ESNN_ERR_NO_MODEL = -64,  /* nothing is loaded yet */
    ESNN_ERR_PACKET = -65,    /* unknown type, or a payload of the wrong length */
    ESNN_ERR_TOO_LARGE = -66, /* more bytes needed than there are: both are told */
    ESNN_ERR_ORDER = -67      /* a piece of a model out of order */
};

#endif
