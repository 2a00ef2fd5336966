/* edgesnn core: runs an integer spiking network from its image, in place.
 *
 * The meaning of every operation is written in edgesnn/graph.py; this code computes the same bits.
 * No heap, no globals, no recursion, no floating point. An image is validated once, by esnn_check
 * or esnn_load, and then run without checks.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_H
#define ESNN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ESNN_CHECKED __attribute__((warn_unused_result))
#else
#define ESNN_CHECKED
#endif

typedef enum {
    ESNN_OK = 0,
    ESNN_ERR_ARGUMENT = -1,  /* a pointer is NULL, or an index is out of range */
    ESNN_ERR_ALIGN = -2,     /* image or arena does not start at a multiple of 4 */
    ESNN_ERR_MAGIC = -3,     /* not an image */
    ESNN_ERR_VERSION = -4,   /* an image of another format version */
    ESNN_ERR_LENGTH = -5,    /* cut short, or not as long as it says */
    ESNN_ERR_CRC = -6,       /* damaged */
    ESNN_ERR_FORMAT = -7,    /* a record breaks a rule of the format */
    ESNN_ERR_BOUND = -8,     /* a value or sum could leave the range that the graph promises */
    ESNN_ERR_ARENA = -9,     /* the arena is smaller than the image needs */
    ESNN_ERR_INPUT = -10,    /* events out of range or not ascending, values too wide, or the wrong
                              * kind of frame */
    ESNN_ERR_SELFTEST = -11, /* the golden run gave other bits, or the image carries none */
    ESNN_ERR_OPERATION = -12 /* the image needs an operation that this build leaves out */
} esnn_status;

/* What an image is and needs, from esnn_check. */
typedef struct {
    uint32_t image_bytes;
    uint32_t arena_bytes;   /* exact */
    uint32_t step_us;       /* time from frame to frame, 0: not tied to real time */
    uint16_t n_populations; /* the input, which is number 0, included */
    uint16_t input_size;
    uint16_t n_scores;
    uint8_t analog_input; /* 1: frames of int16 values, 0: spikes */
} esnn_info;

/* A loaded model: plain, owned by the caller, never allocated here. Fields are private. */
typedef struct {
    const uint8_t *image;
    uint8_t *arena;
    uint32_t step, currents, raised, list;
} esnn_model;

/* What one step gave. */
typedef struct {
    const int32_t *scores; /* in the arena, valid until the next step */
    uint16_t n_scores;
    uint16_t label;  /* lowest index of the highest score */
    uint32_t step;   /* steps since the reset, this one included */
    uint32_t spikes; /* outputs other than 0 of all populations, input not counted */
    uint32_t synops; /* synaptic additions of this step */
    uint32_t macs;   /* multiply-accumulates of values other than 0, and of linear states */
    uint8_t decided; /* 1: the highest score is above the others by the margin of the model */
} esnn_result;

/* Any bytes: a verdict, never a fault. Fills info (may be NULL) on ESNN_OK. */
ESNN_CHECKED esnn_status esnn_check(const void *image, size_t size, esnn_info *info);

/* Check an image, bind it to an arena and reset. Image and arena must outlive the model.
 * ESNN_ERR_ARENA: esnn_check tells the bytes needed. */
ESNN_CHECKED esnn_status esnn_load(esnn_model *m, const void *image, size_t size, void *arena,
                                   size_t arena_size);

/* One step from a frame of input_size values: int16 sensor values for an analog input; for a
 * spike input every value other than 0 is a spike. */
ESNN_CHECKED esnn_status esnn_step(esnn_model *m, const int16_t *frame, esnn_result *out);

/* One step of a spike input from the n channels that spike, ascending. Nothing is run on error. */
ESNN_CHECKED esnn_status esnn_step_events(esnn_model *m, const uint16_t *events, size_t n,
                                          esnn_result *out);

/* Back to the state after esnn_load. */
void esnn_reset(esnn_model *m);

/* Spikes of a population in the last step: their number, and in *events their indices, ascending.
 * Population 0 is the input (of a spike input). */
size_t esnn_events(const esnn_model *m, uint16_t population, const uint16_t **events);

/* Values of a population that emits values, in the last step: their number, which is the
 * population's size, and in *values all of them. 0: it emits spikes, or it is the input. */
size_t esnn_values(const esnn_model *m, uint16_t population, const int16_t **values);

/* Neurons of a population, or channels of the input (population 0). */
size_t esnn_size(const esnn_model *m, uint16_t population);

/* CRC-32 over all spikes and scores of the last step, continued from crc (first: 0). */
uint32_t esnn_digest(const esnn_model *m, uint32_t crc);

/* Run the golden run of the image from a reset, and reset again. */
ESNN_CHECKED esnn_status esnn_selftest(esnn_model *m);

/* CRC-32 (IEEE 802.3, as zlib's), continued from crc (first: 0). */
uint32_t esnn_crc32(uint32_t crc, const void *data, size_t size);

#ifdef __cplusplus
}
#endif
#endif
