/* Evolution of a network on the device, in slices, in the caller's memory: genes are numbers in the
 * arrays of an image, which is changed in place. A candidate is a seed. blimp/evolution.py is the
 * same in Python, slow and plain, and says what is computed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_EVOLVE_H
#define ESNN_EVOLVE_H

#include <stddef.h>
#include <stdint.h>

#include "blimp.h"
#include "esnn.h"

#define EVOLVE_VERSION 1
#define EVOLVE_MAX_LAMBDA 64u
#define EVOLVE_MAX_MU 32u
#define EVOLVE_MAX_RUNS 32u
#define EVOLVE_MAX_GENES 1024u

/* Separable evolution with a step size a gene (as SNES); one parent and the best of lambda. */
enum { EVOLVE_SEPARABLE, EVOLVE_ONE_PLUS };
/* Which array genes lie in: of a projection, or of a population. */
enum { EVOLVE_WEIGHTS, EVOLVE_DECAY, EVOLVE_SYNAPTIC, EVOLVE_THRESHOLD, EVOLVE_BIAS };

/* `count` genes of one meaning, see blimp/controllers.py; sigma: of the first generation, Q24 of
 * the range from low to high. */
typedef struct {
    int32_t kind, part, count, stride, second, mirror, low, high, sigma;
} evolve_run;

/* What is to be evolved and how. Recorded altitudes, int16, follow it. */
typedef struct {
    uint32_t version, bytes; /* of all, altitudes included */
    uint32_t seed, strategy, lambda, mu, generations, validate_every;
    int32_t rate;                   /* of the logarithm of step sizes, Q16 */
    int32_t weights[EVOLVE_MAX_MU]; /* of the winners, best first, Q15; they add up to 2^15 */
    int32_t least_sigma;            /* Q24 */
    uint32_t n_runs, samples;
    evolve_run runs[EVOLVE_MAX_RUNS];
    blimp_task task;
} evolve_recipe;

enum { EVOLVE_RUNNING, EVOLVE_FINISHED };

/* All that a generation leaves behind: to be kept for a restart as it lies, with its genes behind
 * it: int32 means and uint32 step sizes, Q24, uint16 of the best mean, Q16. */
typedef struct {
    uint32_t crc; /* of what follows */
    uint32_t bytes, recipe, genes;
    uint32_t phase, generation, validated; /* validated: the last generation that was */
    uint32_t evaluations, windows;         /* so far; windows flown */
    uint32_t loss; /* of the best candidate of the last generation, Q16 as all of them */
    uint32_t validation, best, best_generation; /* the mean's; the best of them */
    uint32_t test;                              /* the best mean's, once at the end */
    uint32_t n_winners, winners[EVOLVE_MAX_MU]; /* seeds of the last generation, best first */
} evolve_state;

/* Bytes of the state of so many genes. */
uint32_t evolve_state_bytes(uint32_t genes);

/* One evolution: plain, the caller's. Fields are private. */
typedef struct {
    const evolve_recipe *recipe;
    const int16_t *track;
    evolve_state *state;
    int32_t *mean;
    uint32_t *sigma;
    uint16_t *best;
    uint8_t *image;
    esnn_model model;
    blimp_flight flight;
    uint32_t at[EVOLVE_MAX_RUNS]; /* where in the image the genes of a run begin */
    uint32_t losses[EVOLVE_MAX_LAMBDA + 1u];
    uint64_t sum;
    uint32_t genes, stage, candidate, window, flying;
    uint32_t evaluations, windows; /* since the state was sealed */
} evolution;

/* Genes of a recipe, 0: it is damaged, or not one for this image. */
uint32_t evolve_genes(const evolve_recipe *recipe, size_t bytes, const uint8_t *image);

/* Begin, or go on from a state that was kept (with its CRC in order, of the same recipe; any other
 * is begun anew, with the genes of the image as the first mean). `state` has room for
 * evolve_state_bytes, `arena` for the image's. All starts at a multiple of 4 and stays there. */
ESNN_CHECKED esnn_status evolve_begin(evolution *e, const evolve_recipe *recipe, size_t bytes,
                                      uint8_t *image, size_t image_bytes, evolve_state *state,
                                      void *arena, size_t arena_bytes);

/* Run the network for at most so many ticks, and at most to the end of a generation; the ticks run.
 * After the last generation the best mean is tested, and the image is that of it. */
uint32_t evolve_run_for(evolution *e, uint32_t ticks);

/* Put the best mean into the image, and its golden run and CRC in order. */
void evolve_finish(evolution *e);

#endif
