/* Records of an image and the kernels' interface. Private to firmware/core.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_INTERNAL_H
#define ESNN_INTERNAL_H

#include "esnn.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "images are little-endian and run in place: this core needs a little-endian machine"
#endif

#define ESNN_VERSION 2u
#define ESNN_DECAY_ONE (1u << 15)
#define ESNN_CURRENT_BOUND (1u << 29)
#define ESNN_THRESHOLD_BOUND (1u << 29)
#define ESNN_NEVER ((1u << 30) - 1u)
#define ESNN_MAX_SHIFT 20u
#define ESNN_MAX_STATE_SHIFT 30u
#define ESNN_MAX_DELAY 255u
#define ESNN_MAX_SPIKES 0x7fffu
#define ESNN_MAX_STEP (1u << 24)
#define ESNN_TABLE_SIZE 257u
#define ESNN_SOFTMAX_SIZE 256u
#define ESNN_MIN_FRACTION_BITS (-15)
#define ESNN_MAX_FRACTION_BITS 30

enum {
    ESNN_ANALOG_INPUT,
    ESNN_SPIKE_INPUT,
    ESNN_LIF, /* served by the fused update */
    ESNN_NEURON,
    ESNN_INTEGRATOR,
    ESNN_LINEAR_STATE,
    ESNN_DELAY_LINE,
    ESNN_LIF_BLOCKS, /* plain LIF into which only projections in blocks lead */
    ESNN_POPULATION_KINDS
};
enum {
    ESNN_DENSE8,
    ESNN_DENSE4,
    ESNN_DENSE2,
    ESNN_DENSE_VALUES, /* weights of any width, from values or with saturation */
    ESNN_CONV,
    ESNN_POOL,
    ESNN_DELAYED,
    ESNN_PROJECTION_KINDS
};
enum { ESNN_SPIKE_COUNT, ESNN_POTENTIAL, ESNN_SOFTMAX_SUM, ESNN_FIRST_SPIKE, ESNN_READOUT_KINDS };
enum {
    ESNN_RESET_NONE,
    ESNN_RESET_SUBTRACT,
    ESNN_RESET_ZERO,
    ESNN_RESET_ZERO_DISCARD, /* the last of the delayed ones */
    ESNN_RESET_SUBTRACT_AT_ONCE,
    ESNN_RESET_ZERO_AT_ONCE,
    ESNN_RESET_SUBTRACT_RESIDUE
};
enum { ESNN_RULE_Q15, ESNN_RULE_TOWARD_ZERO, ESNN_RULE_BIT_SHIFT };
enum { ESNN_JUMPED, ESNN_DECAYED, ESNN_LAGGED };
enum { ESNN_IDENTITY, ESNN_RELU, ESNN_TABLE };
enum { ESNN_PORT_CURRENT, ESNN_PORT_THRESHOLD };
enum { ESNN_POTENTIAL_LAST, ESNN_POTENTIAL_MAX, ESNN_POTENTIAL_SUM };

/* flags of a population: arrays that hold an entry a neuron, not one for all; then switches */
enum {
    ESNN_DECAY_PER_NEURON = 1 << 0,
    ESNN_SYNAPTIC_PER_NEURON = 1 << 1,
    ESNN_INHIBITORY_PER_NEURON = 1 << 2,
    ESNN_FLOOR_PER_NEURON = 1 << 3,
    ESNN_RESET_TO_PER_NEURON = 1 << 4,
    ESNN_ADAPTATION_PER_NEURON = 1 << 5,
    ESNN_STEP_PER_NEURON = 1 << 6,
    ESNN_REFRACTORY_PER_NEURON = 1 << 7,
    ESNN_REACHES = 1 << 8,
    ESNN_ADAPTS = 1 << 9,
    ESNN_OLD = 1 << 10,
    ESNN_ROUNDS_ONCE = 1 << 11
};

typedef struct {
    uint8_t magic[4];
    uint16_t version, header_size;
    uint32_t length, crc; /* crc: of the bytes from arena_bytes to the end */
    uint32_t arena_bytes, step_us;
    uint16_t n_populations, n_projections;
    uint32_t populations, projections; /* offsets of the record tables */
    uint16_t readout_population;
    uint8_t readout, readout_mode; /* mode of potentials, shift of a softmax */
    uint32_t selftest, selftest_digest;
    uint16_t selftest_steps, zero;
    uint32_t readout_table;
    uint32_t margin; /* of a decided answer, 0: none is */
    uint32_t reserved;
} esnn_header;

/* Offsets of arrays, 0 where there is none. above: what a membrane must be above to spike. */
typedef struct {
    uint32_t decay, above, bias;
    uint32_t synaptic_decay, inhibitory_decay, floor, reset_to;
    uint32_t adaptation_decay, adaptation_step, refractory, membrane_bias;
    uint8_t reset, rule;
    uint16_t max_spikes;
    uint8_t conduction, state_bits, zero[2];
} esnn_neurons;

typedef struct {
    uint32_t decay, bias, table;
    uint8_t shift, activation;
    uint16_t n_scales; /* of a requantisation, 0: none; neuron k has entry k % n_scales */
    uint32_t multiplier, places;
    int16_t low, high;
    uint32_t threshold, offset; /* of one that emits changes, 0: none */
    uint32_t reserved[4];
} esnn_integrator;

typedef struct {
    uint32_t matrix, matrix_shift, shift;
    uint16_t order, blocks;
    uint32_t reserved[9];
} esnn_linear_state;

typedef struct {
    uint32_t delays;
    uint16_t source, longest;
    uint32_t reserved[11];
} esnn_delay_line;

/* bits: width of the values that it emits, 0 where it emits spikes. history: steps of its output
 * that projections with delays look back on, 0 for none. */
typedef struct {
    uint8_t kind, bits;
    uint16_t flags, size, history, first_projection, n_projections;
    union {
        struct {
            uint32_t fraction_bits; /* of an analog input, int8, for hosts and drivers */
            uint32_t reserved[12];
        } input;
        esnn_neurons neurons;
        esnn_integrator integrator;
        esnn_linear_state linear;
        esnn_delay_line delay;
    } as;
} esnn_population;

/* Several projections into one population that are alike but for their sources lie in an image as
 * one, their weights side by side: sources then lists them, n_in is what they have together, and
 * the source of the projection is the first of them. */
typedef struct {
    uint16_t blocks, n_in, n_out, bits; /* n_in, n_out: of one block */
    uint32_t sources;                   /* offset, 0: there is only one */
    uint16_t n_sources, zero;
    uint32_t reserved[5];
} esnn_dense;

typedef struct {
    uint16_t in_height, in_width, in_channels, out_height, out_width, out_channels;
    uint8_t kernel_height, kernel_width, stride_y, stride_x, padding_top, padding_left;
    uint16_t groups;
    uint32_t reserved[4];
} esnn_window;

/* Synapses of source neuron j and delay d lie from starts[j] + ends[j, d - 1] (+ 0 for d = 0) to
 * starts[j] + ends[j, d], their target neurons in post, a byte each where n_out <= 256. */
typedef struct {
    uint16_t n_in, n_out, longest, zero;
    uint32_t starts, ends, post;
    uint32_t reserved[4];
} esnn_delayed;

typedef struct {
    uint8_t kind, shift;
    uint16_t source, target;
    uint8_t port, zero;
    uint32_t weights;
    union {
        esnn_dense dense;
        esnn_window window;
        esnn_delayed delayed;
    } as;
} esnn_projection;

/* At the start of the arena, one an input or population. Offsets, not pointers, so that the arena
 * has one size on every machine. */
typedef struct {
    uint32_t state, output, history; /* output: indices of spikes, or values */
    uint32_t n_events;               /* spikes of the last step */
    uint16_t head, ring;             /* the latest rows of history and of a delay line's ring */
    uint16_t quiet;                  /* steps in a row without any output, up to 65535 */
    uint16_t flags;
} esnn_slot;

/* flags of a slot: SATURATES, its input current may pass 30 bits; FREE, its membranes stay below
 * 2^30 by proof; RESTING, another step without input changes nothing in it */
enum { ESNN_SATURATES = 1, ESNN_FREE = 2, ESNN_RESTING = 4 };

typedef char esnn_assert_layout[sizeof(esnn_header) == 64 && sizeof(esnn_population) == 64 &&
                                        sizeof(esnn_projection) == 48 && sizeof(esnn_slot) == 24
                                    ? 1
                                    : -1];
typedef char esnn_assert_arithmetic_shift[(-1 >> 1) == -1 ? 1 : -1];

/* Weights of a dense projection lie in tiles of 16 target neurons, the last tile of 4, 8, 12 or 16:
 * tile after tile, in each tile a row of its width for every source neuron. A spike reads one row
 * of each tile, and a tile's sums stay in registers for all the spikes of a step. */
#define ESNN_TILE 16u

/* ESNN_ONCE: of functions that run once a model, not in every step: small rather than fast.
 * ESNN_RARE: of what few models need, small rather than fast as well, but on a computer.
 * ESNN_APART: with a frame of its own, which its callers do not pay for otherwise. */
#if defined(__GNUC__)
#define ESNN_ONCE __attribute__((cold))
#define ESNN_APART __attribute__((noinline))
#else
#define ESNN_ONCE
#define ESNN_APART
#endif
#if defined(ESNN_HOST)
#define ESNN_RARE
#else
#define ESNN_RARE ESNN_ONCE
#endif

static inline uint32_t esnn_align(uint32_t bytes) { return (bytes + 3u) & ~3u; }

/* words that hold a bit a neuron */
static inline uint32_t esnn_bit_words(uint32_t size) { return (size + 31u) / 32u; }

static inline const esnn_header *esnn_header_of(const void *image) {
    return (const esnn_header *)image;
}

static inline const esnn_population *esnn_populations_of(const uint8_t *image) {
    return (const esnn_population *)(const void *)(image + esnn_header_of(image)->populations);
}

static inline const esnn_projection *esnn_projections_of(const uint8_t *image) {
    return (const esnn_projection *)(const void *)(image + esnn_header_of(image)->projections);
}

/* of a population of kind ESNN_LIF_BLOCKS */
static inline uint16_t esnn_blocks_of(const uint8_t *image, const esnn_population *p) {
    return esnn_projections_of(image)[p->first_projection].as.dense.blocks;
}

static inline esnn_slot *esnn_slots_of(uint8_t *arena) { return (esnn_slot *)(void *)arena; }

/* Arrays of an image and of an arena. */
static inline const uint16_t *esnn_u16(const uint8_t *image, uint32_t offset) {
    return (const uint16_t *)(const void *)(image + offset);
}

static inline const int32_t *esnn_i32(const uint8_t *image, uint32_t offset) {
    return (const int32_t *)(const void *)(image + offset);
}

static inline int32_t *esnn_words(uint8_t *arena, uint32_t offset) {
    return (int32_t *)(void *)(arena + offset);
}

static inline uint16_t *esnn_halves(uint8_t *arena, uint32_t offset) {
    return (uint16_t *)(void *)(arena + offset);
}

/* ---- operations ----
 *
 * What a population, a projection and a read-out of each kind does, so that a build links only
 * those that its models use: esnn_operations.c lists them all, and a table of a model's own, which
 * edgesnn makes, lists fewer. An image that needs one that is not there is refused at load. */

/* The input currents of a population, and what its projections raise its thresholds by (NULL:
 * nothing). */
typedef struct {
    int32_t *current;
    int32_t *raised;
} esnn_currents;

typedef struct {
    /* what of the record esnn_check.c does not check of every kind; sums of currents are not known
     * to be bounded yet */
    esnn_status (*check)(const esnn_header *h, const esnn_population *p);
    /* states and output of one step; in->current is NULL where a plain LIF population has no input
     * and no reset due, and nowhere else */
    void (*update)(const esnn_model *m, const esnn_population *p, esnn_slot *slot,
                   const esnn_currents *in);
} esnn_population_operation;

typedef struct {
    esnn_status (*check)(const esnn_header *h, const esnn_projection *q);
    /* add to the currents of the target what the source emits; values is NULL where that are
     * spikes. Returns how many synapses met something. */
    uint32_t (*project)(const esnn_model *m, const esnn_projection *q, int32_t *current,
                        const int16_t *values);
} esnn_projection_operation;

typedef struct {
    esnn_status (*check)(const esnn_header *h, const esnn_population *p);
    void (*read)(const esnn_model *m, const esnn_population *p, const esnn_slot *slot,
                 int32_t *scores);
} esnn_readout_operation;

extern const esnn_population_operation esnn_op_lif, esnn_op_neuron, esnn_op_integrator,
    esnn_op_linear_state, esnn_op_delay_line, esnn_op_lif_blocks;
extern const esnn_projection_operation esnn_op_dense8, esnn_op_dense4, esnn_op_dense2,
    esnn_op_dense_values, esnn_op_conv, esnn_op_pool, esnn_op_delayed;
/* less: of models whose projections all are one block from one source */
extern const esnn_projection_operation esnn_op_dense8_single, esnn_op_dense4_single,
    esnn_op_dense2_single;
extern const esnn_readout_operation esnn_op_spike_count, esnn_op_potential, esnn_op_softmax_sum,
    esnn_op_first_spike;

/* by kind; NULL where this build leaves an operation out */
extern const esnn_population_operation *const esnn_population_operations[ESNN_POPULATION_KINDS];
extern const esnn_projection_operation *const esnn_projection_operations[ESNN_PROJECTION_KINDS];
extern const esnn_readout_operation *const esnn_readout_operations[ESNN_READOUT_KINDS];

/* so many events at most are put together */
#define ESNN_LIST_MOST 256u

/* what is known of the blocks of a population of kind ESNN_LIF_BLOCKS, behind its membranes */
static inline uint8_t *esnn_met_of(const esnn_model *m, const esnn_population *p,
                                   const esnn_slot *slot) {
    return m->arena + slot->state + 4u * p->size;
}

/* For the checks. */
int esnn_inside(const esnn_header *h, uint32_t offset, uint32_t bytes);
/* a product, UINT32_MAX where it is larger: more than any image has */
uint32_t esnn_times(uint32_t a, uint32_t b);
int esnn_all_zero(const uint32_t *words, size_t n);
/* an array is inside the image (FORMAT), its values in range (BOUND) */
esnn_status esnn_check_u16(const esnn_header *h, uint32_t offset, size_t n, uint32_t most);
esnn_status esnn_check_i32(const esnn_header *h, uint32_t offset, size_t n, int32_t least,
                           int32_t most);
/* biases, 0: none */
esnn_status esnn_check_bias(const esnn_header *h, uint32_t offset, size_t n);
/* upper bound of what enters population k at a port, bias included; ESNN_CURRENT_BOUND: that much
 * or more */
uint32_t esnn_largest_current(const esnn_header *h, uint16_t k, uint8_t port);

/* offset of the biases of a population, 0 for none; bytes of one step of its history */
uint32_t esnn_bias_of(const esnn_population *p);
uint32_t esnn_history_bytes(const esnn_population *p);
/* The arena: slots, a buffer of currents, a second one where projections raise thresholds, a list
 * in which the spikes of several sources are put together, the state, output and history of every
 * population, and the scores. Enters where they are in a model and in its slots (NULL: only in the
 * model); returns their bytes. */
uint64_t esnn_lay_out(const esnn_header *h, esnn_model *m, esnn_slot *slots);

/* (x * b + 2^14) >> 15 for 32-bit x without a 64-bit product, exact */
static inline int32_t esnn_leak(int32_t x, uint32_t b) {
    return (x >> 15) * (int32_t)b + (int32_t)((((uint32_t)x & 0x7fffu) * b + (1u << 14)) >> 15);
}

/* saturation to the numbers from -bound to bound - 1 */
static inline int32_t esnn_clamp(int32_t x, int32_t bound) {
    return x < -bound ? -bound : x > bound - 1 ? bound - 1 : x;
}

static inline int32_t esnn_add_saturating(int32_t a, int32_t b) {
    if (b > 0 ? a > INT32_MAX - b : a < INT32_MIN - b) {
        return b > 0 ? INT32_MAX : INT32_MIN;
    }
    return a + b;
}

#define ESNN_MEMBRANE_BITS 31u
#define ESNN_CURRENT_LIMIT ((int32_t)1 << 29)  /* of sat(x, 30) */
#define ESNN_MEMBRANE_LIMIT ((int32_t)1 << 30) /* of sat(x, 31) */

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
#elif defined(ESNN_HOST) /* set by who builds for a computer, and wants its vectors */
#define ESNN_KERNELS_HOST
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

/* What a step finds of a block of neurons: nothing left to decay, only that, or spikes that enter
 * it or that it emitted in the step before. */
enum { ESNN_RESTS, ESNN_DECAYS, ESNN_MET };

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
 * ascend. Where met is not NULL, met[b] becomes ESNN_MET.
 *
 * esnn_lif: v = leak(v, decay) + current for n neurons, decay below 1, |v| < 2^30 before and after;
 * writes the indices of those above their threshold, returns their number.
 * esnn_lif_saturating: v = sat(leak(v, decay) + current, 31) where only |current| < 2^30 is known.
 *
 * esnn_lif_blocks: n_blocks blocks of n_out neurons, of which met holds a byte each: esnn_lif of
 * those that are met, where only these have a current; without one esnn_decay of those that are not
 * at rest. Keeps met: a block in which a neuron spikes is met in the next step too, where that is
 * reset, or spikes again even where nothing enters.
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
                                 uint32_t shift, const uint16_t *events, size_t n_events,
                                 uint8_t *met);
size_t esnn_lif_portable(int32_t *v, const int32_t *current, const int32_t *threshold,
                         uint32_t decay, size_t n, uint16_t *events);
size_t esnn_lif_saturating_portable(int32_t *v, const int32_t *current, const int32_t *threshold,
                                    uint32_t decay, size_t n, uint16_t *events);
size_t esnn_lif_blocks_portable(int32_t *v, const int32_t *current, const int32_t *threshold,
                                uint32_t decay, size_t n_blocks, size_t n_out, uint8_t *met,
                                uint16_t *events);
uint32_t esnn_decay_portable(int32_t *v, size_t n, uint32_t decay);

#if defined(ESNN_KERNELS_HOST)
void esnn_dense_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                       uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first);
size_t esnn_lif(int32_t *v, const int32_t *current, const int32_t *threshold, uint32_t decay,
                size_t n, uint16_t *events);
size_t esnn_lif_saturating(int32_t *v, const int32_t *current, const int32_t *threshold,
                           uint32_t decay, size_t n, uint16_t *events);
#define esnn_clear esnn_clear_portable
#define esnn_dense4_events esnn_dense4_events_portable
#define esnn_dense2_events esnn_dense2_events_portable
#define esnn_blocks_events esnn_blocks_events_portable
#define esnn_lif_blocks esnn_lif_blocks_portable
#define esnn_decay esnn_decay_portable
#elif defined(ESNN_KERNELS_MVE) || defined(ESNN_KERNELS_PACKED)
void esnn_clear(int32_t *current, size_t n);
void esnn_dense_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                       uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first);
void esnn_dense4_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                        uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first);
void esnn_dense2_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                        uint32_t shift, const uint16_t *events, size_t n_events, uint32_t first);
void esnn_blocks_events(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                        uint32_t shift, const uint16_t *events, size_t n_events, uint8_t *met);
size_t esnn_lif(int32_t *v, const int32_t *current, const int32_t *threshold, uint32_t decay,
                size_t n, uint16_t *events);
size_t esnn_lif_saturating(int32_t *v, const int32_t *current, const int32_t *threshold,
                           uint32_t decay, size_t n, uint16_t *events);
#if !defined(ESNN_KERNELS_MVE) /* where esnn_lif of all takes less */
size_t esnn_lif_blocks(int32_t *v, const int32_t *current, const int32_t *threshold, uint32_t decay,
                       size_t n_blocks, size_t n_out, uint8_t *met, uint16_t *events);
#endif
uint32_t esnn_decay(int32_t *v, size_t n, uint32_t decay);
#else
#define esnn_clear esnn_clear_portable
#define esnn_dense_events esnn_dense_events_portable
#define esnn_dense4_events esnn_dense4_events_portable
#define esnn_dense2_events esnn_dense2_events_portable
#define esnn_blocks_events esnn_blocks_events_portable
#define esnn_lif esnn_lif_portable
#define esnn_lif_saturating esnn_lif_saturating_portable
#define esnn_lif_blocks esnn_lif_blocks_portable
#define esnn_decay esnn_decay_portable
#endif

/* current[o] += sum of weights[o, j] * values[j] * 2^shift, weights of 8 bits. */
void esnn_dense_values(int32_t *current, const int8_t *weights, size_t n_in, size_t n_out,
                       uint32_t shift, const int16_t *values);

#endif
