/* Messages of the stream protocol (docs/protocol.md). devices/protocol.py mirrors these.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_PROTOCOL_H
#define ESNN_PROTOCOL_H

#define ESNN_PROTOCOL_VERSION 2
#define ESNN_FIRMWARE_VERSION "0.1.0" /* of the release that it belongs to */

enum esnn_packet_type {
    ESNN_HELLO = 0x01,         /* u8 version, u8 0, u16 0, u32 token       -> INFO */
    ESNN_MODEL_BEGIN = 0x02,   /* u32 image bytes, u8 slot                 -> STATUS */
    ESNN_MODEL_DATA = 0x03,    /* u32 offset, bytes                        -> STATUS */
    ESNN_MODEL_END = 0x04,     /* check, load, self-test                   -> STATUS */
    ESNN_RESET = 0x05,         /*                                          -> STATUS */
    ESNN_FRAME = 0x06,         /* u32 time stamp, i16 for each channel     -> RESULT or STATUS */
    ESNN_EVENTS = 0x07,        /* u32 time stamp, u16 for each channel that spikes
                                                                           -> RESULT or STATUS */
    ESNN_SELFTEST = 0x08,      /*                                          -> STATUS */
    ESNN_SUBSCRIBE = 0x09,     /* u8 what, u8 0, u16 population            -> STATUS */
    ESNN_LIST = 0x0a,          /*                                          -> MODELS */
    ESNN_SELECT = 0x0b,        /* u8 slot                                  -> STATUS */
    ESNN_COUNT = 0x0c,         /*                                          -> COUNTERS */
    ESNN_EVO_BEGIN = 0x0d,     /* u32 recipe bytes, u32 state bytes, u8 slot -> STATUS */
    ESNN_EVO_DATA = 0x0e,      /* u32 offset in recipe and state, bytes    -> STATUS */
    ESNN_EVO_RUN = 0x0f,       /* u32 ticks, u32 generation                -> PROGRESS or STATUS */
    ESNN_EVO_READ = 0x10,      /* u32 offset in the state, u32 bytes       -> PIECE or STATUS */
    ESNN_SENSE = 0x11,         /* u32 number of the first sample           -> SAMPLES or STATUS */
    ESNN_UPDATE_BEGIN = 0x12,  /* signature and head of an update          -> STATUS */
    ESNN_UPDATE_PREFIX = 0x13, /* u32 bytes: their CRC-32 as they lie there -> STATUS */
    ESNN_UPDATE_DATA = 0x14,   /* u32 offset, bytes                        -> STATUS */
    ESNN_UPDATE_END = 0x15,    /* check, signature, load, self-test, commit -> STATUS */
    ESNN_STORE = 0x16,         /*                                          -> STORED */
    ESNN_CONFIRM = 0x17,       /* the model on trial is good               -> STATUS */
    ESNN_RESTART = 0x18,       /*                                          -> STATUS */
    ESNN_STATUS = 0x80,        /* u8 request type, i8 status, u16 0, u32 needed, u32 there */
    ESNN_INFO = 0x81,          /* u8 version, u8 flags, u16 largest payload, u32 window,
                                  u32 model bytes, u32 arena bytes, u16 last number, u8 slots, u8 0,
                                  u32 steps, name and firmware version */
    ESNN_RESULT = 0x82,        /* u16 label, u16 scores, u32 step, u32 spikes, u32 synops, u32 macs,
                                  u32 digest, u32 microseconds, u32 time stamp, i32 for each score,
                                  what is subscribed to */
    ESNN_MODELS = 0x83,   /* u8 selected slot or 255, u8 0, u16 0, u32 bytes and u32 CRC of each */
    ESNN_COUNTERS = 0x84, /* u32 each: clock, taken, copies, gaps, refused, steps, longest step,
                             bad, overruns */
    ESNN_PROGRESS = 0x85, /* u32 each: ticks run, phase, generation, validated, evaluations,
                             windows, loss, validation, best, its generation, test, winners; their
                             seeds */
    ESNN_PIECE = 0x86,    /* u32 offset, bytes of the state */
    ESNN_SAMPLES = 0x87,  /* u32 number of the first, u32 taken, u32 period, u16 channels, u16
                             samples; of each u32 time stamp, i16 for each channel */
    ESNN_STORED = 0x88    /* u32 page, u32 room, u32 version, u32 bytes and u32 CRC of the image,
                             u8 flags, u8 0, u16 0, public key */
};

/* Flags of INFO. */
enum { ESNN_MODEL_LOADED = 1, ESNN_RESUMED = 2, ESNN_DEVELOPMENT = 4, ESNN_HAS_STORE = 8 };

/* Flags of STORED: a model runs from flash, it is on trial, another waits for the next start. */
enum { ESNN_STORED_RUNS = 1, ESNN_STORED_ON_TRIAL = 2, ESNN_STORED_WAITS = 4 };

/* The slot of the model in flash, for SELECT and MODELS. */
#define ESNN_STORED_SLOT 254

/* What SUBSCRIBE asks for. */
enum { ESNN_NOTHING = 0, ESNN_SPIKES = 1, ESNN_POTENTIALS = 2 };

/* Statuses of the app, beside the core's (esnn.h). */
enum esnn_app_status {
    ESNN_ERR_NO_MODEL = -64,   /* nothing is loaded yet */
    ESNN_ERR_PACKET = -65,     /* unknown type, or a payload of the wrong length */
    ESNN_ERR_TOO_LARGE = -66,  /* more bytes needed than there are: both are told */
    ESNN_ERR_ORDER = -67,      /* a piece of a model out of order */
    ESNN_ERR_SLOT = -68,       /* no such slot, or none behind it may be filled yet */
    ESNN_ERR_POPULATION = -69, /* no such population, or nothing of that kind in it */
    ESNN_ERR_GREETING = -70,   /* no host that speaks this version has said HELLO */
    ESNN_ERR_GAP = -71,        /* a packet before this one did not come: it was not taken */
    ESNN_ERR_RECIPE = -72,     /* an evolution's recipe is damaged, or not for this model */
    ESNN_ERR_SENSOR = -73,     /* the board has no sensor of its own */
    ESNN_ERR_SIGNATURE = -74,  /* not signed with the key of this firmware */
    ESNN_ERR_DOWNGRADE = -75,  /* older than the model that is there */
    ESNN_ERR_TARGET = -76,     /* for another board */
    ESNN_ERR_FLASH = -77,      /* the flash does not keep what is written to it */
    ESNN_ERR_TRIAL = -78,      /* a model is on trial: confirm it, or restart the board */
    ESNN_ERR_NO_STORE = -79    /* this board keeps no models, or there is none in its flash */
};

#endif
