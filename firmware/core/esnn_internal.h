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
#define ESNN_MIN_FRACTION_BITS (-15)
#define ESNN_MAX_FRACTION_BITS 30

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

/* Weights of a dense projection lie in tiles of 16 target neurons, the last tile of 4, 8, 12 or 16:
 * tile after tile, in each tile a row of its width for every source neuron. A spike reads one row
 * of each tile, and a tile's sums stay in registers for all the spikes of a step. */
#define ESNN_TILE 16u

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

/* Which kernels this build runs, picked by what the compiler says of the processor; with
 * ESNN_PORTABLE defined, or on any other processor, the portable ones. All give the same bits. */
#if defined(__GNUC__) && !defined(ESNN_PORTABLE)
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
#if defined(__ARM_FEATURE_MVE)
#define ESNN_KERNELS_MVE
#elif defined(__ARM_FEATURE_SIMD32)
#define ESNN_KERNELS_DSP
#elif __ARM_ARCH_ISA_THUMB == 2
#define ESNN_KERNELS_THUMB2
#else
#define ESNN_KERNELS_THUMB1
#endif
#elif defined(__riscv) && __riscv_xlen == 32 && defined(__riscv_mul)
#define ESNN_KERNELS_RV32
#endif
#endif

#if defined(ESNN_KERNELS_DSP) || defined(ESNN_KERNELS_THUMB2) || defined(ESNN_KERNELS_THUMB1) || \
    defined(ESNN_KERNELS_RV32)
#define ESNN_KERNELS_PACKED
#endif

/* For people: whose kernels these are. */
const char *esnn_kernel_name(void);

/* Weights of 4 and of 2 bits lie in tiles of 32 and of 64 target neurons, the row of each 4 words
 * as with 8 bits, the last tile's 1 to 4 words. Codes are unsigned, weight + 8 and weight + 2, and
 * so are those that fill up the last word: 8 and 2. In a tile whose rows have W words
 *   the low half of byte i of word j is of neuron 4 j + 2 (i & 1) + 4 W (i >> 1), the high half of
 *   the one after it;
 *   bits 2 q and 2 q + 1 of byte i of word j are of neuron 16 j + 4 q + i. */
#define ESNN_TILE4 32u
#define ESNN_TILE2 64u

/* The kernels and their portable twins.
 *
 * esnn_clear: current[o] = 0 for n neurons.
 *
 * esnn_dense_events: current[o] += sum of weights[o, events[e] - first] * 2^shift over the
 * n_events events, all of which are in [first, first + n_in). esnn_dense4_events and
 * esnn_dense2_events: the same with weights of 4 and of 2 bits; the weights are aligned to 4 bytes.
 *
 * esnn_blocks_events: a block of weights, n_in inputs and n_out <= 16 outputs, for each n_in
 * neurons: current[b * n_out + o] += weights[o, i] * 2^shift for every event b * n_in + i. Events
 * ascend.
 *
 * esnn_lif: v = leak(v, decay) + current for n neurons, decay below 1, |v| < 2^30 before and after;
 * writes the indices of those above their threshold, returns their number.
 * esnn_lif_saturating: v = sat(leak(v, decay) + current, 31) where only |current| < 2^30 is known.
 *
 * esnn_decay: v = leak(v, decay) for n neurons, decay below 1, -2^30 <= v < 2^30; returns 0 where
 * none of them changed. */
void esnn_clear_portable(int32_t *current, size_t n);
void esnn_dense_events_portable(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                                uint32_t shift, const uint16_t *events, size_t n_events,
                                uint32_t first);
void esnn_dense4_events_portable(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                                 uint32_t shift, const uint16_t *events, size_t n_events,
                                 uint32_t first);
void esnn_dense2_events_portable(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                                 uint32_t shift, const uint16_t *events, size_t n_events,
                                 uint32_t first);
void esnn_blocks_events_portable(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                                 uint32_t shift, const uint16_t *events, size_t n_events);
size_t esnn_lif_portable(int32_t *v, const int32_t *current, const int32_t *threshold,
                         uint32_t decay, size_t n, uint16_t *events);
size_t esnn_lif_saturating_portable(int32_t *v, const int32_t *current, const int32_t *threshold,
                                    uint32_t decay, size_t n, uint16_t *events);
uint32_t esnn_decay_portable(int32_t *v, size_t n, uint32_t decay);

#if defined(ESNN_KERNELS_MVE) || defined(ESNN_KERNELS_PACKED)
void esnn_clear(int32_t *current, size_t n);
void esnn_dense_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                       uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first);
void esnn_dense4_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                        uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first);
void esnn_dense2_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                        uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first);
void esnn_blocks_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                        uint32_t shift, const uint16_t *events, size_t n_events);
size_t esnn_lif(int32_t *v, const int32_t *current, const int32_t *threshold, uint32_t decay,
                size_t n, uint16_t *events);
size_t esnn_lif_saturating(int32_t *v, const int32_t *current, const int32_t *threshold,
                           uint32_t decay, size_t n, uint16_t *events);
uint32_t esnn_decay(int32_t *v, size_t n, uint32_t decay);
#else
#define esnn_clear esnn_clear_portable
#define esnn_dense_events esnn_dense_events_portable
#define esnn_dense4_events esnn_dense4_events_portable
#define esnn_dense2_events esnn_dense2_events_portable
#define esnn_blocks_events esnn_blocks_events_portable
#define esnn_lif esnn_lif_portable
#define esnn_lif_saturating esnn_lif_saturating_portable
#define esnn_decay esnn_decay_portable
#endif

/* current[o] += sum of weights[o, j] * values[j] * 2^shift; returns how many values are not 0. */
size_t esnn_dense_values(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                         uint32_t shift, const int16_t *values);

/* Arrays of one population, resolved, for the general update. synapse is NULL for LIF. Strides are
 * 0 where one value serves all neurons. */
typedef struct {
    size_t size;
    const uint16_t *decay, *synaptic_decay;
    size_t decay_stride, synaptic_stride;
    const int32_t *threshold;
    int32_t *membrane, *synapse;
    uint8_t reset;
} esnn_neurons;

/* One update of all neurons of any population; as esnn_lif otherwise. The resets are made here. */
size_t esnn_update(const esnn_neurons *n, const int32_t *current, uint16_t *events);

#endif
