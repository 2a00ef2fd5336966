/* SPDX-License-Identifier: Apache-2.0 */
#include "evolve.h"

#include <string.h>

#include "esnn_internal.h"

#define ONE ((int32_t)1 << 24)
#define LARGEST_SIGMA (ONE / 4)
#define GAUSS_VARIANCE 21845 /* of the sum of four bytes */
#define GAUSS_SCALE 443      /* 2^16 / sqrt(21845), for a variance of 1 */
#define NONE UINT32_MAX

enum { TRAIN, VALIDATE, TEST, DONE }; /* stages of a generation */

uint32_t evolve_state_bytes(uint32_t genes) {
    return (uint32_t)sizeof(evolve_state) + 8u * genes + ((2u * genes + 3u) & ~3u);
}

/* ---- genes in an image ---- */

/* bytes of one entry, and how many there are, of an array; *at: where it lies. 0: there is none. */
static uint32_t array_of(const uint8_t *image, const evolve_run *r, uint32_t *at, uint32_t *count) {
    const esnn_header *h = esnn_header_of(image);
    if (r->kind == EVOLVE_WEIGHTS) {
        if (r->part < 0 || r->part >= h->n_projections) {
            return 0;
        }
        const esnn_projection *q = &esnn_projections_of(image)[r->part];
        *at = q->weights;
        if (q->kind == ESNN_DELAYED) {
            *count = ((const uint32_t *)(const void *)(image +
                                                       q->as.delayed.starts))[q->as.delayed.n_in];
            return 1;
        }
        *count = 4u * q->as.dense.n_in * ((q->as.dense.n_out + 3u) / 4u);
        return (q->kind == ESNN_DENSE8 || q->kind == ESNN_DENSE_VALUES) && q->as.dense.bits == 8;
    }
    if (r->part < 1 || r->part >= h->n_populations) {
        return 0;
    }
    const esnn_population *p = &esnn_populations_of(image)[r->part];
    const esnn_neurons *n = &p->as.neurons;
    const int fires = p->kind == ESNN_NEURON;
    *count = p->size;
    if (r->kind == EVOLVE_DECAY && (fires || p->kind == ESNN_INTEGRATOR)) {
        *at = fires ? n->decay : p->as.integrator.decay;
        *count = (p->flags & ESNN_DECAY_PER_NEURON) != 0 ? p->size : 1u;
        return 2;
    }
    if (r->kind == EVOLVE_SYNAPTIC && fires && n->synaptic_decay != 0) {
        *at = n->synaptic_decay;
        *count = (p->flags & ESNN_SYNAPTIC_PER_NEURON) != 0 ? p->size : 1u;
        return 2;
    }
    *at = r->kind == EVOLVE_THRESHOLD ? n->above : n->bias;
    return fires && (r->kind == EVOLVE_THRESHOLD || r->kind == EVOLVE_BIAS) && *at != 0 ? 4 : 0;
}

/* whether no number from low to high, or minus one, is more than an array of that kind may hold */
static int bounded(const uint8_t *image, const evolve_run *r) {
    const int signs = r->kind == EVOLVE_WEIGHTS || r->kind == EVOLVE_BIAS;
    int32_t most = r->kind == EVOLVE_WEIGHTS ? 127 : (int32_t)ESNN_DECAY_ONE;
    if (r->kind == EVOLVE_THRESHOLD) {
        most = (int32_t)ESNN_THRESHOLD_BOUND - 2;
    } else if (r->kind == EVOLVE_BIAS) {
        const uint32_t rest =
            esnn_largest_current(esnn_header_of(image), (uint16_t)r->part, ESNN_PORT_CURRENT);
        most = rest < ESNN_CURRENT_BOUND ? (int32_t)(ESNN_CURRENT_BOUND - rest) - 1 : -1;
    }
    return r->low < r->high && r->low >= (signs ? -most : 0) && r->high <= most &&
           (r->mirror >= 0 || signs);
}

static int run_fits(const uint8_t *image, const evolve_run *r) {
    uint32_t at;
    uint32_t count;
    if (r->count < 1 || r->count > (int32_t)EVOLVE_MAX_GENES || r->stride < 1 || r->stride > 64 ||
        r->second < 0 || r->second > 64 || r->mirror < -1 || r->mirror > 1 || r->sigma < 0 ||
        r->sigma > LARGEST_SIGMA || array_of(image, r, &at, &count) == 0 || !bounded(image, r)) {
        return 0;
    }
    const uint32_t last = (uint32_t)(r->count - 1) * (uint32_t)r->stride +
                          (r->mirror != 0 ? (uint32_t)r->second : 0u);
    return last < count;
}

uint32_t evolve_genes(const evolve_recipe *r, size_t bytes, const uint8_t *image) {
    uint32_t genes = 0;
    int32_t weights = 0;
    if (bytes < sizeof *r || r->version != EVOLVE_VERSION || r->bytes != bytes ||
        r->samples > (bytes - sizeof *r) / 2u || r->strategy > EVOLVE_ONE_PLUS || r->lambda < 1u ||
        r->lambda > EVOLVE_MAX_LAMBDA || r->mu < 1u || r->mu > r->lambda || r->mu > EVOLVE_MAX_MU ||
        r->validate_every < 1u || r->rate < 0 || r->rate > 65536 || r->least_sigma < 1 ||
        r->least_sigma > LARGEST_SIGMA || r->n_runs < 1u || r->n_runs > EVOLVE_MAX_RUNS ||
        !blimp_check(&r->task, r->samples) ||
        esnn_populations_of(image)->kind != ESNN_ANALOG_INPUT ||
        esnn_populations_of(image)->size != 1u || esnn_populations_of(image)->bits != 16u) {
        return 0;
    }
    for (uint32_t k = 0; k < r->mu; k++) {
        if (r->weights[k] < 0 || r->weights[k] > 32768) {
            return 0;
        }
        weights += r->weights[k];
    }
    for (uint32_t k = 0; k < r->n_runs; k++) {
        if (!run_fits(image, &r->runs[k])) {
            return 0;
        }
        genes += (uint32_t)r->runs[k].count;
    }
    return weights == 32768 && genes <= EVOLVE_MAX_GENES ? genes : 0;
}

static int32_t entry_of(const evolution *e, uint32_t run, uint32_t k) {
    const evolve_run *r = &e->recipe->runs[run];
    const uint8_t *at = e->image + e->at[run];
    if (r->kind == EVOLVE_WEIGHTS) {
        return ((const int8_t *)at)[k];
    }
    if (r->kind == EVOLVE_DECAY || r->kind == EVOLVE_SYNAPTIC) {
        return ((const uint16_t *)(const void *)at)[k];
    }
    return ((const int32_t *)(const void *)at)[k];
}

static void put_entry(const evolution *e, uint32_t run, uint32_t k, int32_t value) {
    const evolve_run *r = &e->recipe->runs[run];
    uint8_t *at = e->image + e->at[run];
    if (r->kind == EVOLVE_WEIGHTS) {
        ((int8_t *)at)[k] = (int8_t)value;
    } else if (r->kind == EVOLVE_DECAY || r->kind == EVOLVE_SYNAPTIC) {
        ((uint16_t *)(void *)at)[k] = (uint16_t)value;
    } else {
        ((int32_t *)(void *)at)[k] = value;
    }
}

/* about normal, variance GAUSS_VARIANCE */
static int32_t gauss(uint32_t seed, uint32_t k) {
    const uint32_t h = blimp_hash(seed, k);
    return (int32_t)((h & 255u) + (h >> 8 & 255u) + (h >> 16 & 255u) + (h >> 24)) - 510;
}

static int32_t offset(uint32_t sigma, int32_t g) {
    return (int32_t)(((int64_t)sigma * g * GAUSS_SCALE) >> 16);
}

/* back into 0..2^24 from a bound, and to whole parts of 2^16 */
static uint32_t place_of(int32_t x) {
    x = x < 0 ? -x : x > ONE ? 2 * ONE - x : x;
    const uint32_t whole = (uint32_t)(x < 0 ? 0 : x > ONE ? ONE : x) >> 8;
    return whole < 65535u ? whole : 65535u;
}

/* Put a candidate into the image: the mean with the mutation of a seed, or without for NONE, or the
 * best mean. */
static void express(const evolution *e, uint32_t seed, int best) {
    uint32_t k = 0;
    for (uint32_t run = 0; run < e->recipe->n_runs; run++) {
        const evolve_run *r = &e->recipe->runs[run];
        const uint32_t stride = (uint32_t)r->stride, second = (uint32_t)r->second;
        for (uint32_t j = 0; j < (uint32_t)r->count; j++, k++) {
            uint32_t x = e->best[k];
            if (!best) {
                const int32_t moved = seed == NONE ? 0 : offset(e->sigma[k], gauss(seed, k));
                x = place_of(e->mean[k] + moved);
            }
            const int64_t above = ((int64_t)(r->high - r->low) * x + 32768) >> 16;
            const int32_t value = r->low + (int32_t)above;
            put_entry(e, run, j * stride, value);
            if (r->mirror != 0) {
                put_entry(e, run, j * stride + second, r->mirror * value);
            }
        }
    }
}

/* ---- the strategy ---- */

static uint32_t seed_of(const evolution *e, uint32_t candidate) {
    const uint32_t generation = blimp_hash(e->recipe->seed, e->state->generation);
    const uint32_t seed = blimp_hash(generation, candidate);
    return seed == NONE ? 0 : seed;
}

static uint32_t scaled(uint32_t sigma, int32_t by, int32_t least) {
    const int64_t x = ((int64_t)sigma * by) >> 16;
    return x < least ? (uint32_t)least : x > LARGEST_SIGMA ? (uint32_t)LARGEST_SIGMA : (uint32_t)x;
}

/* exp(x), Q16, for x in -1/2..1/2 */
static int32_t exponential(int64_t x) {
    const int32_t t = x < -32768 ? -32768 : x > 32768 ? 32768 : (int32_t)x;
    const int32_t square = (t * (t >> 1)) >> 15;
    const int32_t cube = (int32_t)(((int64_t)square * t) >> 16);
    return 65536 + t + square / 2 + cube / 6;
}

/* the next mean and step sizes, from the seeds of the winners alone */
static void adapt(const evolution *e) {
    const evolve_recipe *r = e->recipe;
    const evolve_state *s = e->state;
    for (uint32_t k = 0; k < e->genes; k++) {
        int64_t shift = 0, spread = 0;
        for (uint32_t w = 0; w < s->n_winners; w++) {
            const int32_t g = gauss(s->winners[w], k);
            shift += (int64_t)r->weights[w] * offset(e->sigma[k], g);
            spread += (int64_t)r->weights[w] * (g * g - GAUSS_VARIANCE);
        }
        if (r->strategy == EVOLVE_ONE_PLUS) { /* the 1/5 rule: e^rate up, a quarter of it down */
            spread = s->n_winners > 0 ? r->rate : -(r->rate / 4);
        } else {
            spread = (spread >> 15) * r->rate / (2 * GAUSS_VARIANCE);
        }
        const int64_t moved = e->mean[k] + (shift >> 15);
        e->mean[k] = moved < 0 ? 0 : moved > ONE ? ONE : (int32_t)moved;
        e->sigma[k] = scaled(e->sigma[k], exponential(spread), r->least_sigma);
    }
}

/* seeds of the best candidates, best first; of two alike the first */
static void choose(evolution *e) {
    const evolve_recipe *r = e->recipe;
    evolve_state *s = e->state;
    s->n_winners = 0;
    while (s->n_winners < r->mu) {
        uint32_t best = 0;
        for (uint32_t k = 1; k < r->lambda; k++) {
            best = e->losses[k] < e->losses[best] ? k : best;
        }
        if (s->n_winners == 0) {
            s->loss = e->losses[best];
        }
        if (r->strategy == EVOLVE_ONE_PLUS && e->losses[best] >= e->losses[r->lambda]) {
            break; /* the parent is as good */
        }
        s->winners[s->n_winners++] = seed_of(e, best);
        e->losses[best] = UINT32_MAX;
    }
}

/* ---- its course ---- */

static uint32_t crc_of(const evolve_state *s) {
    return esnn_crc32(0, &s->bytes, s->bytes - sizeof s->crc);
}

/* what was done counts, and a restart goes on from here */
static void seal(evolution *e) {
    evolve_state *s = e->state;
    s->evaluations += e->evaluations;
    s->windows += e->windows;
    e->evaluations = e->windows = 0;
    s->crc = crc_of(s);
}

/* what is to be done next, by the state alone */
static void proceed(evolution *e) {
    const evolve_recipe *r = e->recipe;
    const evolve_state *s = e->state;
    const int last = s->generation >= r->generations;
    const int due = last || s->generation % r->validate_every == 0;
    e->candidate = e->window = e->flying = 0;
    e->sum = 0;
    if (s->phase == EVOLVE_FINISHED) {
        e->stage = DONE;
    } else if (due && s->validated != s->generation) {
        e->stage = VALIDATE;
    } else {
        e->stage = last ? TEST : TRAIN;
    }
}

static void open_state(evolution *e) {
    const evolve_recipe *r = e->recipe;
    evolve_state *s = e->state;
    *s = (evolve_state){.bytes = evolve_state_bytes(e->genes), .genes = e->genes};
    s->recipe = esnn_crc32(0, r, r->bytes);
    s->best = s->validation = s->loss = s->test = s->validated = UINT32_MAX;
    uint32_t k = 0;
    for (uint32_t run = 0; run < r->n_runs; run++) {
        const evolve_run *genes = &r->runs[run];
        for (uint32_t j = 0; j < (uint32_t)genes->count; j++, k++) {
            const int64_t above =
                (int64_t)entry_of(e, run, j * (uint32_t)genes->stride) - genes->low;
            const int64_t x = (above * ONE) / ((int64_t)genes->high - genes->low);
            e->mean[k] = x < 0 ? 0 : x > ONE ? ONE : (int32_t)x;
            e->sigma[k] = (uint32_t)(genes->sigma > r->least_sigma ? genes->sigma : r->least_sigma);
            e->best[k] = (uint16_t)place_of(e->mean[k]);
        }
    }
    s->crc = crc_of(s);
}

esnn_status evolve_begin(evolution *e, const evolve_recipe *recipe, size_t bytes, uint8_t *image,
                         size_t image_bytes, evolve_state *state, void *arena, size_t arena_bytes) {
    *e = (evolution){.recipe = recipe, .state = state, .image = image};
    const esnn_status status = esnn_load(&e->model, image, image_bytes, arena, arena_bytes);
    if (status != ESNN_OK) {
        return status;
    }
    e->genes = evolve_genes(recipe, bytes, image);
    if (e->genes == 0) {
        return ESNN_ERR_FORMAT;
    }
    e->track = (const int16_t *)(const void *)(recipe + 1);
    e->mean = (int32_t *)(void *)(state + 1);
    e->sigma = (uint32_t *)(e->mean + e->genes);
    e->best = (uint16_t *)(e->sigma + e->genes);
    for (uint32_t k = 0; k < recipe->n_runs; k++) {
        uint32_t count;
        array_of(image, &recipe->runs[k], &e->at[k], &count);
    }
    if (state->bytes != evolve_state_bytes(e->genes) || state->crc != crc_of(state) ||
        state->genes != e->genes || state->recipe != esnn_crc32(0, recipe, recipe->bytes)) {
        open_state(e);
    }
    proceed(e);
    if (e->stage == DONE) {
        evolve_finish(e);
    }
    return ESNN_OK;
}

/* the seed that names a window: all candidates of a generation get the same ones */
static uint32_t window_seed(const evolution *e, int32_t role) {
    if (role == BLIMP_TRAIN) {
        const uint32_t generation = blimp_hash(~e->recipe->seed, e->state->generation);
        return blimp_hash(generation, e->window);
    }
    return blimp_hash(0x626c6d70u + (uint32_t)role, e->window);
}

/* a candidate is through all its windows */
static void judged(evolution *e, uint32_t loss) {
    const evolve_recipe *r = e->recipe;
    evolve_state *s = e->state;
    e->evaluations++;
    if (e->stage == TRAIN) {
        e->losses[e->candidate++] = loss;
        if (e->candidate < r->lambda + (r->strategy == EVOLVE_ONE_PLUS)) {
            return;
        }
        choose(e);
        adapt(e);
        s->generation++;
    } else if (e->stage == VALIDATE) {
        s->validation = loss;
        s->validated = s->generation;
        if (loss < s->best) {
            s->best = loss;
            s->best_generation = s->generation;
            for (uint32_t k = 0; k < e->genes; k++) {
                e->best[k] = (uint16_t)place_of(e->mean[k]);
            }
        }
        if (s->generation >= r->generations && r->task.windows[BLIMP_TEST] == 0) {
            s->phase = EVOLVE_FINISHED;
        }
    } else {
        s->test = loss;
        s->phase = EVOLVE_FINISHED;
    }
    seal(e);
    proceed(e);
}

/* the golden run of an image whose numbers have changed: the answers are new, too */
static uint32_t golden(evolution *e, const esnn_header *h) {
    const int16_t *frames = (const int16_t *)(const void *)(e->image + h->selftest);
    esnn_result out;
    uint32_t crc = 0;
    esnn_reset(&e->model);
    for (uint16_t t = 0; t < h->selftest_steps; t++) {
        if (esnn_step(&e->model, frames + t, &out) == ESNN_OK) {
            crc = esnn_digest(&e->model, crc);
        }
    }
    return crc;
}

void evolve_finish(evolution *e) {
    express(e, NONE, 1);
    esnn_header *h = (esnn_header *)(void *)e->image;
    if (h->selftest_steps > 0) {
        h->selftest_digest = golden(e, h);
    }
    h->crc = esnn_crc32(0, &h->arena_bytes, h->length - offsetof(esnn_header, arena_bytes));
    e->stage = DONE;
}

/* begin the next window of the candidate whose turn it is */
static void take_off(evolution *e) {
    static const int32_t roles[] = {BLIMP_TRAIN, BLIMP_VALIDATE, BLIMP_TEST};
    const int32_t role = roles[e->stage];
    if (e->window == 0) {
        const int mutated = e->stage == TRAIN && e->candidate < e->recipe->lambda;
        express(e, mutated ? seed_of(e, e->candidate) : NONE, e->stage == TEST);
    }
    esnn_reset(&e->model);
    blimp_begin(&e->flight, &e->recipe->task, e->track, role, window_seed(e, role));
    e->flying = 1;
}

static void land(evolution *e) {
    static const int32_t roles[] = {BLIMP_TRAIN, BLIMP_VALIDATE, BLIMP_TEST};
    const uint32_t windows = (uint32_t)e->recipe->task.windows[roles[e->stage]];
    e->flying = 0;
    e->sum += blimp_loss(&e->flight);
    e->window++;
    if (e->window == windows) {
        const uint64_t loss = e->sum / windows;
        e->sum = 0;
        e->window = 0;
        judged(e, loss < UINT32_MAX ? (uint32_t)loss : UINT32_MAX - 1u);
    }
}

uint32_t evolve_run_for(evolution *e, uint32_t ticks) {
    evolve_state *s = e->state;
    const uint32_t generation = s->generation;
    uint32_t ran = 0;
    while (ran < ticks && e->stage != DONE) {
        if (!e->flying) {
            take_off(e);
        }
        esnn_result out = {0};
        const int16_t error = blimp_observe(&e->flight);
        const esnn_status status = esnn_step(&e->model, &error, &out); /* the input takes any */
        blimp_answer(&e->flight, status == ESNN_OK ? out.scores[0] : 0);
        ran++;
        if (e->flight.tick == e->recipe->task.ticks) {
            e->windows++;
            land(e);
            if (s->phase == EVOLVE_FINISHED) {
                evolve_finish(e);
            }
            if (s->generation != generation) {
                break; /* a host sees every generation, and its winners */
            }
        }
    }
    return ran;
}
