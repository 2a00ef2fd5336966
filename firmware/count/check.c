/* Every fast kernel against its portable twin, on random and on extreme values.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "esnn_internal.h"
#include "guest.h"

#define GUARD 4u /* words behind an array that must not change */
#define ROUNDS 10u
#define CURRENT_LIMIT ((int32_t)1 << 30)

typedef struct {
    int32_t v[MAX_OUT + GUARD];
    uint16_t events[MAX_OUT + GUARD];
} lif_result;

static struct {
    int32_t fast[MAX_OUT + GUARD], portable[MAX_OUT + GUARD];
    uint16_t events[MAX_IN];
} dense;

static struct {
    lif_result fast, portable;
    int32_t current[MAX_OUT], threshold[MAX_OUT];
} lif;

uint32_t random32(void) {
    static uint32_t state; /* 0 stands for the seed: this image has no initialised variables */
    uint32_t x = state != 0 ? state : 2463534242u;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    state = x;
    return x;
}

static uint32_t below(uint32_t n) { return random32() % n; }

/* low..high: one of the two, near 0, or anything */
static int32_t between(int32_t low, int32_t high, uint32_t kind) {
    const int32_t any = low + (int32_t)(random32() % ((uint32_t)high - (uint32_t)low + 1u));
    switch (kind) {
    case 0:
        return (any & 1) != 0 ? low : high;
    case 1:
        return any % 8 < low ? low : any % 8 > high ? high : any % 8;
    default:
        return any;
    }
}

static int same(const void *a, const void *b, size_t size) {
    const uint8_t *x = a, *y = b;
    for (size_t k = 0; k < size; k++) {
        if (x[k] != y[k]) {
            return 0;
        }
    }
    return 1;
}

typedef struct {
    const char *name;
    void (*fast)(int32_t *, const int8_t *, size_t, size_t, uint32_t, const uint16_t *, size_t,
                 uint32_t);
    void (*portable)(int32_t *, const int8_t *, size_t, size_t, uint32_t, const uint16_t *, size_t,
                     uint32_t);
    uint32_t largest; /* |weight| */
    const int8_t *extremes;
} dense_kernel;

/* with a shift that keeps the sums in bounds, as a loader proves of an image */
static int same_sums(const dense_kernel *kernel, const int8_t *w, size_t n_in, size_t n_out,
                     const uint16_t *events, size_t n_events, uint32_t first) {
    uint32_t shift = 0;
    do {
        shift = below(ESNN_MAX_SHIFT + 1u);
    } while ((uint32_t)n_events * kernel->largest >= ESNN_CURRENT_BOUND >> shift);
    for (size_t k = 0; k < n_out + GUARD; k++) {
        dense.fast[k] = between(-(1 << 29), 1 << 29, 2);
        dense.portable[k] = dense.fast[k];
    }
    kernel->fast(dense.fast, w, n_in, n_out, shift, events, n_events, first);
    kernel->portable(dense.portable, w, n_in, n_out, shift, events, n_events, first);
    return same(dense.fast, dense.portable, sizeof dense.fast);
}

static const int8_t *some_weights(const dense_kernel *kernel, size_t n_in) {
    return n_in > EXTREME_IN || below(2) == 0 ? weights
                                              : kernel->extremes + below(3) * EXTREME_BYTES;
}

static int check_dense(const dense_kernel *kernel, size_t n_out) {
    /* around what bytes, 16 bits and turns hold */
    static const uint16_t counts[] = {1, 2, 3, 4, 5, 16, 17, 18, 34, 35, 85, 86, 256, 257, MAX_IN};
    const size_t n_in = 1u + below(below(2) == 0 ? MAX_IN : EXTREME_IN);
    const uint32_t first = below(3) == 0 ? below(65536u - MAX_IN) : 0;
    size_t n_events = 0;
    switch (below(4)) {
    case 0: /* one input over and over: the largest sums */
        n_events = below(2) == 0 ? counts[below(sizeof counts / sizeof *counts)] : below(MAX_IN);
        for (size_t e = 0; e < n_events; e++) {
            dense.events[e] = (uint16_t)(first + n_in - 1u);
        }
        break;
    case 1: /* all */
        for (; n_events < n_in; n_events++) {
            dense.events[n_events] = (uint16_t)(first + n_events);
        }
        break;
    default:
        for (uint32_t j = 0, share = below(101); j < n_in; j++) {
            if (below(100) < share) {
                dense.events[n_events++] = (uint16_t)(first + j);
            }
        }
    }
    return same_sums(kernel, some_weights(kernel, n_in), n_in, n_out, dense.events, n_events,
                     first);
}

static int check_many_events(const dense_kernel *kernel, size_t n_out) {
    const size_t n_in = MANY_EVENTS_IN + below(EXTREME_IN - MANY_EVENTS_IN + 1u);
    return same_sums(kernel, some_weights(kernel, n_in), n_in, n_out, many_events,
                     MANY_EVENTS - below(3), 0);
}

typedef size_t lif_kernel(int32_t *v, const int32_t *current, const int32_t *threshold,
                          uint32_t decay, size_t n, uint16_t *events);

/* the limits are those of the new membranes for a kernel that need not saturate */
static int check_lif(lif_kernel *fast_kernel, lif_kernel *portable_kernel, int saturating,
                     size_t n) {
    static const uint16_t decays[] = {0, 1, 16384, 32766, 32767};
    const uint32_t v_kind = below(4), x_kind = below(4), t_kind = below(4);
    const uint32_t decay = below(2) == 0 ? decays[below(5)] : below(ESNN_DECAY_ONE);
    for (size_t k = 0; k < n; k++) {
        lif.fast.v[k] =
            between(saturating ? -CURRENT_LIMIT : 1 - CURRENT_LIMIT, CURRENT_LIMIT - 1, v_kind);
        lif.current[k] = between(1 - CURRENT_LIMIT, CURRENT_LIMIT - 1, x_kind);
        lif.threshold[k] = between(0, (int32_t)ESNN_NEVER, t_kind);
        if (!saturating) { /* the current is what leads to the membrane that was drawn */
            lif.portable.v[0] = lif.fast.v[k];
            (void)esnn_decay_portable(lif.portable.v, 1, decay);
            lif.current[k] -= lif.portable.v[0];
        }
    }
    lif.portable = lif.fast;
    /* one whose membrane comes to lie on its threshold, or one above or below it */
    const size_t edge = below((uint32_t)n);
    lif.portable.v[0] = lif.fast.v[edge];
    (void)portable_kernel(lif.portable.v, lif.current + edge, lif.threshold, decay, 1,
                          lif.portable.events);
    const int32_t at = lif.portable.v[0] + (int32_t)below(3) - 1;
    if (at >= 0 && at <= (int32_t)ESNN_NEVER) {
        lif.threshold[edge] = at;
    }
    lif.portable = lif.fast;
    const size_t fast =
        fast_kernel(lif.fast.v, lif.current, lif.threshold, decay, n, lif.fast.events);
    const size_t portable =
        portable_kernel(lif.portable.v, lif.current, lif.threshold, decay, n, lif.portable.events);
    const uint16_t *a = lif.fast.events, *b = lif.portable.events;
    return fast == portable && same(lif.fast.v, lif.portable.v, sizeof lif.fast.v) &&
           same(a, b, fast * sizeof *a) && same(a + n, b + n, GUARD * sizeof *a);
}

static int check_decay(size_t n) {
    const uint32_t kind = below(5);
    const uint32_t decay = below(2) == 0 ? ESNN_DECAY_ONE - 1u : below(ESNN_DECAY_ONE);
    for (size_t k = 0; k < n + GUARD; k++) {
        dense.fast[k] = kind == 4 ? 0 : between(-CURRENT_LIMIT, CURRENT_LIMIT - 1, kind);
        dense.portable[k] = dense.fast[k];
    }
    if (kind == 4 && below(2) == 0) { /* one that may change */
        const size_t at = below((uint32_t)n);
        dense.fast[at] = dense.portable[at] = below(2) == 0 ? -1 : (int32_t)below(1u << 17);
    }
    const int fast = esnn_decay(dense.fast, n, decay) != 0;
    const int portable = esnn_decay_portable(dense.portable, n, decay) != 0;
    return fast == portable && same(dense.fast, dense.portable, sizeof dense.fast);
}

#if defined(ESNN_KERNELS_MVE)
#define KEEPS_MET 0
#define esnn_lif_blocks esnn_lif_blocks_portable
#else
#define KEEPS_MET 1
#endif

static struct {
    uint8_t fast[MAX_OUT + GUARD], portable[MAX_OUT + GUARD];
    size_t n_out;
} met;

static size_t fast_blocks(int32_t *v, const int32_t *current, const int32_t *threshold,
                          uint32_t decay, size_t n, uint16_t *events) {
    memcpy(met.portable, met.fast, sizeof met.fast); /* what was tried of it is forgotten */
    return esnn_lif_blocks(v, current, threshold, decay, n / met.n_out, met.n_out, met.fast,
                           events);
}

static size_t portable_blocks(int32_t *v, const int32_t *current, const int32_t *threshold,
                              uint32_t decay, size_t n, uint16_t *events) {
    if (n < met.n_out) { /* see check_lif */
        return esnn_lif_portable(v, current, threshold, decay, n, events);
    }
    return esnn_lif_blocks_portable(v, current, threshold, decay, n / met.n_out, met.n_out,
                                    met.portable, events);
}

static void draw_met(size_t n_out) {
    met.n_out = n_out;
    for (size_t b = 0; b < sizeof met.fast; b++) {
        met.fast[b] = met.portable[b] = (uint8_t)below(3);
    }
}

static int check_lif_blocks(size_t n_out) {
    draw_met(n_out);
    return check_lif(fast_blocks, portable_blocks, 0, n_out * (1u + below(MAX_OUT / n_out))) &&
           same(met.fast, met.portable, sizeof met.fast);
}

static int check_blocks(size_t n_out) {
    const size_t n_in = 1u + below(below(2) == 0 ? 8 : ESNN_TILE + 1u);
    const size_t blocks = MAX_OUT / n_out;
    const int8_t *w = below(2) == 0 ? weights : extreme_weights + below(3) * EXTREME_BYTES;
    const uint32_t shift = below(ESNN_MAX_SHIFT + 1u), share = below(101);
    size_t n_events = 0;
    for (uint32_t j = 0; j < n_in * blocks && n_events < MAX_IN; j++) {
        if (below(100) < share) {
            dense.events[n_events++] = (uint16_t)j;
        }
    }
    for (size_t k = 0; k < n_out * blocks + GUARD; k++) {
        dense.fast[k] = between(-(1 << 29), 1 << 29, 2) >> 8;
        dense.portable[k] = dense.fast[k];
    }
    draw_met(n_out);
    const int marks = KEEPS_MET && below(2) == 0;
    esnn_blocks_events(dense.fast, w, n_in, n_out, shift, dense.events, n_events,
                       marks ? met.fast : NULL);
    esnn_blocks_events_portable(dense.portable, w, n_in, n_out, shift, dense.events, n_events,
                                marks ? met.portable : NULL);
    return same(dense.fast, dense.portable, sizeof dense.fast) &&
           same(met.fast, met.portable, sizeof met.fast);
}

static int check_clear(size_t n) {
    for (size_t k = 0; k < n + GUARD; k++) {
        dense.fast[k] = dense.portable[k] = (int32_t)random32();
    }
    esnn_clear(dense.fast, n);
    esnn_clear_portable(dense.portable, n);
    return same(dense.fast, dense.portable, sizeof dense.fast);
}

static int fails(const char *name) {
    say(name);
    say(" is not as its portable twin\n");
    return 0;
}

int check_kernels(void) {
    const dense_kernel kernels[] = {
        {"esnn_dense_events", esnn_dense_events, esnn_dense_events_portable, 128, extreme_weights},
        {"esnn_dense4_events", esnn_dense4_events, esnn_dense4_events_portable, 8, extreme_codes4},
        {"esnn_dense2_events", esnn_dense2_events, esnn_dense2_events_portable, 2, extreme_codes2},
    };
    const size_t n_kernels = sizeof kernels / sizeof *kernels;
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t n = 1; n <= MAX_OUT; n++) {
            for (size_t k = 0; k < n_kernels; k++) {
                if (!check_dense(&kernels[k], n)) {
                    return fails(kernels[k].name);
                }
            }
            if (!check_blocks(1u + n % ESNN_TILE)) {
                return fails("esnn_blocks_events");
            }
            if (!check_clear(n)) {
                return fails("esnn_clear");
            }
            if (!check_lif(esnn_lif, esnn_lif_portable, 0, n)) {
                return fails("esnn_lif");
            }
            if (!check_lif(esnn_lif_saturating, esnn_lif_saturating_portable, 1, n)) {
                return fails("esnn_lif_saturating");
            }
            if (!check_lif_blocks(1u + n % ESNN_TILE)) {
                return fails("esnn_lif_blocks");
            }
            if (!check_decay(n)) {
                return fails("esnn_decay");
            }
        }
        for (size_t k = 0; k < n_kernels; k++) {
            if (!check_many_events(&kernels[k], MAX_OUT - below(20))) {
                return fails(kernels[k].name);
            }
        }
    }
    return 1;
}
