/* Faults while a model runs, built with sanitizers; tests/test_faults.py says what must come out.
 *
 *   faults memory IMAGE        every bit of what a model has in RAM and its bookkeeping does not
 *                              count on, flipped between two steps
 *   faults flash IMAGE         every bit of the numbers in an image, likewise: not of its records
 *                              and of its lists of indices
 *   faults hours IMAGE N       N steps each of the largest, the least and a constant input
 *
 * Prints how many bits were flipped, and of how many flips the digest of the steps behind told;
 * of hours, the sum of the digests of all steps, each times its number, a line an input.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "esnn_internal.h"

#define BEFORE 3u
#define BEHIND 4u

typedef struct {
    uint8_t *image, *arena;
    int16_t *frame;
    esnn_info info;
    esnn_model m;
    unsigned long flipped, told;
    uint32_t whole; /* the digest without a flip */
} run;

static void require(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "faults: not so: %s\n", what);
        abort();
    }
}

static void *allocate(size_t size) {
    void *data = malloc(size);
    require(data != NULL, "there is memory");
    return data;
}

static void load(run *r) {
    require(esnn_load(&r->m, r->image, r->info.image_bytes, r->arena, r->info.arena_bytes) ==
                ESNN_OK,
            "the image is good");
}

/* largest: 1; least: -1, of spikes none; else a constant in between */
static void fill(run *r, int sign) {
    const uint8_t bits = esnn_populations_of(r->image)->bits;
    const int32_t limit = bits != 0 ? (int32_t)1 << (bits - 1) : 1;
    const int32_t value = sign > 0   ? (bits != 0 ? limit - 1 : 1)
                          : sign < 0 ? (bits != 0 ? -limit : 0)
                                     : limit / 2;
    for (size_t k = 0; k < r->info.input_size; k++) {
        r->frame[k] = (int16_t)(sign == 0 && bits == 0 ? (int32_t)(k % 2u) : value);
    }
}

static uint32_t steps(run *r, uint32_t n, uint32_t crc) {
    esnn_result out;
    for (uint32_t t = 0; t < n; t++) {
        fill(r, (int)(t % 3u) - 1);
        require(esnn_step(&r->m, r->frame, &out) == ESNN_OK, "a step is run");
        require(out.label < out.n_scores, "a label is one of the scores");
        crc = esnn_digest(&r->m, crc);
    }
    return crc;
}

/* flip a bit in between: 8 times as many runs as there are bytes */
static void flip(run *r, uint8_t *bytes, size_t n) {
    for (size_t bit = 0; bit < 8u * n; bit++) {
        load(r);
        const uint32_t crc = steps(r, BEFORE, 0);
        bytes[bit / 8u] ^= (uint8_t)(1u << bit % 8u);
        r->told += steps(r, BEHIND, crc) != r->whole;
        if (bytes >= r->image && bytes < r->image + r->info.image_bytes) {
            require(esnn_check(r->image, r->info.image_bytes, NULL) == ESNN_ERR_CRC,
                    "a check finds a flip in an image");
            bytes[bit / 8u] ^= (uint8_t)(1u << bit % 8u);
        }
        r->flipped++;
    }
}

/* states, values, what delays look back on, and the scores: not the slots, the lists of spikes, and
 * what is known of blocks of neurons, which the next step counts on */
static void memory(run *r) {
    const esnn_header *h = esnn_header_of(r->image);
    const esnn_population *p = esnn_populations_of(r->image);
    load(r);
    for (uint16_t k = 0; k < h->n_populations; k++, p++) {
        const esnn_slot s = esnn_slots_of(r->arena)[k];
        flip(r, r->arena + s.state, p->kind == ESNN_LIF_BLOCKS ? 4u * p->size : s.output - s.state);
        if (p->bits != 0) {
            flip(r, r->arena + s.output, s.history - s.output);
        }
        flip(r, r->arena + s.history, p->history * esnn_history_bytes(p));
    }
    const size_t scores = 4u * (size_t)r->info.n_scores;
    flip(r, r->arena + r->info.arena_bytes - scores, scores);
}

static int overlaps(uint32_t at, uint32_t from, size_t bytes) {
    return from != 0 && at >= from && at < from + bytes;
}

/* whether a byte of an image belongs to a list of indices, or to what is divided by */
static int is_index(const run *r, uint32_t at) {
    const esnn_header *h = esnn_header_of(r->image);
    const esnn_population *p = esnn_populations_of(r->image);
    const esnn_projection *q = esnn_projections_of(r->image);
    int found = overlaps(at, h->readout_table, 2);
    for (uint16_t k = 0; k < h->n_populations; k++) {
        if (p[k].kind == ESNN_DELAY_LINE) {
            found |= overlaps(at, p[k].as.delay.delays, p[p[k].as.delay.source].size);
        }
    }
    for (uint16_t k = 0; k < h->n_projections; k++, q++) {
        if (q->kind == ESNN_DELAYED) {
            const esnn_delayed *d = &q->as.delayed;
            const uint32_t starts = d->n_in + 1u;
            const uint32_t n = esnn_u16(r->image, d->starts)[2u * d->n_in]; /* below 2^16 here */
            found |= overlaps(at, d->starts, 4u * starts) ||
                     overlaps(at, d->ends, 2u * (size_t)d->n_in * (d->longest + 1u)) ||
                     overlaps(at, d->post, (d->n_out > 256u ? 2u : 1u) * n);
        } else if (q->kind <= ESNN_DENSE2) {
            found |= overlaps(at, q->as.dense.sources, 2u * q->as.dense.n_sources);
        }
    }
    return found;
}

static void flash(run *r) {
    const esnn_header *h = esnn_header_of(r->image);
    const size_t records = 64u + h->n_populations * sizeof(esnn_population) +
                           h->n_projections * sizeof(esnn_projection);
    for (uint32_t at = (uint32_t)records; at < r->info.image_bytes; at++) {
        if (!is_index(r, at)) {
            flip(r, r->image + at, 1);
        }
    }
}

static void hours(run *r, uint32_t n) {
    esnn_result out;
    for (int sign = 1; sign >= -1; sign--) {
        uint32_t all = 0;
        load(r);
        fill(r, sign);
        for (uint32_t t = 0; t < n; t++) {
            require(esnn_step(&r->m, r->frame, &out) == ESNN_OK, "a step is run");
            require(out.step == t + 1, "steps are counted");
            all += (t + 1u) * esnn_digest(&r->m, 0);
        }
        printf("%lu\n", (unsigned long)all);
    }
}

int main(int argc, char **argv) {
    run r = {.flipped = 0};
    require(argc == 3 || argc == 4, "there are two arguments or three");
    FILE *file = fopen(argv[2], "rb");
    require(file != NULL && fseek(file, 0, SEEK_END) == 0, "the file is there");
    const size_t size = (size_t)ftell(file);
    rewind(file);
    r.image = allocate(size);
    require(fread(r.image, 1, size, file) == size && fclose(file) == 0, "the file is read");
    require(esnn_check(r.image, size, &r.info) == ESNN_OK, "the image is good");
    r.arena = allocate(r.info.arena_bytes);
    r.frame = allocate(2u * (size_t)r.info.input_size);
    if (strcmp(argv[1], "hours") == 0) {
        hours(&r, (uint32_t)strtoul(argv[3], NULL, 10));
    } else {
        load(&r);
        r.whole = steps(&r, BEHIND, steps(&r, BEFORE, 0));
        if (strcmp(argv[1], "memory") == 0) {
            memory(&r);
        } else {
            flash(&r);
        }
        printf("%lu %lu\n", r.flipped, r.told);
    }
    free(r.image);
    free(r.arena);
    free(r.frame);
    return 0;
}
