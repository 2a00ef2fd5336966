/* Records of an image and the kernels' interface. Private to firmware/core.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_INTERNAL_H
#define ESNN_INTERNAL_H

#include "esnn.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "images are little-endian and run in place: this core needs a little-endian machine"
#endif

#define ESNN_VERSION 1u
#define ESNN_DECAY_ONE (1u << 15)
#define ESNN_CURRENT_BOUND (1u << 29)
#define ESNN_THRESHOLD_BOUND (1u << 29)
#define ESNN_NEVER ((1u << 30) - 1u)
#define ESNN_MAX_SHIFT 20u

enum { ESNN_ANALOG_INPUT, ESNN_SPIKE_INPUT, ESNN_LIF, ESNN_CUBA_LIF };
enum { ESNN_RESET_NONE, ESNN_RESET_SUBTRACT, ESNN_RESET_ZERO, ESNN_RESET_ZERO_DISCARD };
enum { ESNN_DENSE };
enum { ESNN_SPIKE_COUNT, ESNN_POTENTIAL };
enum { ESNN_POTENTIAL_LAST, ESNN_POTENTIAL_MAX, ESNN_POTENTIAL_SUM };
enum { ESNN_DECAY_PER_NEURON = 1, ESNN_SYNAPTIC_DECAY_PER_NEURON = 2 };

typedef struct {
    uint8_t magic[4];
    uint16_t version, header_size;
    uint32_t length, crc; /* crc: of the bytes from arena_bytes to the end */
    uint32_t arena_bytes, step_us;
    uint16_t n_populations, n_projections;
    uint32_t populations, projections; /* offsets of the record tables */
    uint16_t readout_population;
    uint8_t readout, readout_mode;
    uint32_t selftest, selftest_digest;
    uint16_t selftest_steps, zero;
    uint32_t reserved[3];
} esnn_header;

typedef struct {
    uint8_t kind, reset, flags, zero;
    uint16_t size, zero2;
    uint32_t decay; /* of an analog input: its fraction bits, int8, for hosts and drivers */
    uint32_t synaptic_decay, threshold, bias;
    uint16_t first_projection, n_projections;
    uint32_t reserved;
} esnn_population;

typedef struct {
    uint8_t kind, shift;
    uint16_t source, target, blocks, n_in, n_out; /* n_in, n_out: of one block */
    uint32_t weights;
    uint32_t reserved[4];
} esnn_projection;

/* At the start of the arena, one an input or population. Offsets, not pointers, so that the arena
 * has one size on every machine. */
typedef struct {
    uint32_t events, state, n_events;
} esnn_slot;

typedef char esnn_assert_layout[sizeof(esnn_header) == 64 && sizeof(esnn_population) == 32 &&
                                        sizeof(esnn_projection) == 32 && sizeof(esnn_slot) == 12
                                    ? 1
                                    : -1];
typedef char esnn_assert_arithmetic_shift[(-1 >> 1) == -1 ? 1 : -1];

static inline uint32_t esnn_align(uint32_t bytes) { return (bytes + 3u) & ~3u; }

static inline const esnn_header *esnn_header_of(const void *image) {
    return (const esnn_header *)image;
}

static inline const esnn_population *esnn_populations_of(const uint8_t *image) {
    return (const esnn_population *)(const void *)(image + esnn_header_of(image)->populations);
}

static inline const esnn_projection *esnn_projections_of(const uint8_t *image) {
    return (const esnn_projection *)(const void *)(image + esnn_header_of(image)->projections);
}

static inline esnn_slot *esnn_slots_of(uint8_t *arena) { return (esnn_slot *)(void *)arena; }

/* Add the weight rows of the events in [first, first + n_in) to acc; returns how many there were.
 * events starts at the first event not below `first`. */
size_t esnn_add_events(int32_t *acc, const int8_t *rows, size_t n_out, const uint16_t *events,
                       size_t n_events, uint32_t first, uint32_t n_in);

/* Add value * weight row for each value that is not 0; returns how many there were. */
size_t esnn_add_values(int32_t *acc, const int8_t *rows, size_t n_out, const int16_t *values,
                       size_t n_in);

/* acc[k] *= 2^shift */
void esnn_scale(int32_t *acc, size_t n, uint32_t shift);

/* Arrays of one population, resolved. synapse is NULL for LIF; bias may be NULL. Strides are 0
 * where one value serves all neurons. */
typedef struct {
    size_t size;
    const uint16_t *decay, *synaptic_decay;
    size_t decay_stride, synaptic_stride;
    const int32_t *threshold, *bias;
    int32_t *membrane, *synapse;
    uint8_t reset;
} esnn_neurons;

/* One update of all neurons of a population from their currents; writes the events, returns their
 * number. */
size_t esnn_update(const esnn_neurons *n, const int32_t *current, uint16_t *events);

#endif
