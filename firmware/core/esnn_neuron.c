/* The canonical spiking neuron with all its switches (edgesnn.graph.LIF).
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"

/* The arrays that hold an entry a neuron or one for all, in the order of their flags, and where in
 * the record their offsets are. */
enum { DECAY, SYNAPTIC, INHIBITORY, FLOOR, RESET_TO, ADAPTATION, STEP, REFRACTORY, PARAMETERS };
static const uint8_t places[PARAMETERS] = {
    offsetof(esnn_neurons, decay),
    offsetof(esnn_neurons, synaptic_decay),
    offsetof(esnn_neurons, inhibitory_decay),
    offsetof(esnn_neurons, floor),
    offsetof(esnn_neurons, reset_to),
    offsetof(esnn_neurons, adaptation_decay),
    offsetof(esnn_neurons, adaptation_step),
    offsetof(esnn_neurons, refractory),
};

static uint32_t offset_of(const esnn_population *p, size_t which) {
    const uint8_t *record = (const uint8_t *)&p->as.neurons;
    return *(const uint32_t *)(const void *)(record + places[which]);
}

ESNN_ONCE static esnn_status check_parameter(const esnn_header *h, const esnn_population *p,
                                             size_t which) {
    static const uint16_t largest_decay[] = {ESNN_DECAY_ONE, 1u << 12, 31u};
    const uint32_t offset = offset_of(p, which);
    const int per_neuron = (p->flags >> which & 1) != 0;
    const size_t n = per_neuron ? p->size : 1u;
    int32_t limit = (int32_t)ESNN_MAX_STEP;
    if (offset == 0) {
        return per_neuron ? ESNN_ERR_FORMAT : ESNN_OK;
    }
    switch (which) {
    case FLOOR:
        return esnn_check_i32(h, offset, n, -ESNN_MEMBRANE_LIMIT, 0);
    case RESET_TO:
        limit = ESNN_CURRENT_LIMIT - 1;
        /* fall through */
    case STEP:
        return esnn_check_i32(h, offset, n, -limit, limit);
    default:
        return esnn_check_u16(h, offset, n, largest_decay[p->as.neurons.rule]);
    }
}

/* which switches go together */
ESNN_ONCE static int known(const esnn_population *p) {
    const esnn_neurons *n = &p->as.neurons;
    const int adapts = (p->flags & ESNN_ADAPTS) != 0, old = (p->flags & ESNN_OLD) != 0;
    const int cuba = n->synaptic_decay != 0 && n->inhibitory_decay == 0;
    const int alpha = n->inhibitory_decay != 0 && n->reset == ESNN_RESET_SUBTRACT;
    if (n->rule > ESNN_RULE_BIT_SHIFT || n->reset > ESNN_RESET_SUBTRACT_RESIDUE ||
        p->flags >= ESNN_OLD << 1 || (n->zero[0] | n->zero[1]) != 0 || n->decay == 0 ||
        (n->reset_to != 0 ? !alpha && n->reset != ESNN_RESET_ZERO_AT_ONCE : alpha) ||
        n->state_bits < 16 || n->state_bits > ESNN_MEMBRANE_BITS || n->conduction > ESNN_LAGGED ||
        (!cuba && (n->conduction != ESNN_JUMPED || n->membrane_bias != 0))) {
        return 0;
    }
    if (n->inhibitory_decay != 0 &&
        (n->synaptic_decay == 0 || adapts || n->floor != 0 || n->max_spikes != 1 ||
         (n->reset != ESNN_RESET_NONE && n->reset != ESNN_RESET_SUBTRACT &&
          n->reset != ESNN_RESET_ZERO_DISCARD))) {
        return 0;
    }
    if (n->max_spikes == 0 || n->max_spikes > ESNN_MAX_SPIKES ||
        (n->max_spikes > 1 &&
         ((p->flags & ESNN_REACHES) == 0 || adapts ||
          (n->reset != ESNN_RESET_SUBTRACT_AT_ONCE && n->reset != ESNN_RESET_ZERO_AT_ONCE)))) {
        return 0;
    }
    if (!adapts) {
        return !old && n->adaptation_decay == 0 && n->adaptation_step == 0 && n->refractory == 0;
    }
    const int delayed = n->reset >= ESNN_RESET_SUBTRACT && n->reset <= ESNN_RESET_ZERO_DISCARD;
    return (n->floor == 0 || !delayed) && n->adaptation_decay != 0 && n->adaptation_step != 0 &&
           n->reset != ESNN_RESET_SUBTRACT_RESIDUE && (!old || n->reset == ESNN_RESET_SUBTRACT) &&
           (n->refractory == 0 || n->reset == ESNN_RESET_NONE);
}

/* width of what is emitted: spikes, or a sign and the bits of the most spikes */
ESNN_ONCE static uint8_t bits_of(uint16_t max_spikes) {
    uint8_t bits = 1;
    for (uint16_t left = max_spikes; max_spikes > 1 && left > 0; left >>= 1) {
        bits++;
    }
    return max_spikes > 1 ? bits : 0;
}

ESNN_ONCE static esnn_status check(const esnn_header *h, const esnn_population *p) {
    const esnn_neurons *n = &p->as.neurons;
    if (!known(p) || p->bits != bits_of(n->max_spikes)) {
        return ESNN_ERR_FORMAT;
    }
    const int bounded = n->reset == ESNN_RESET_SUBTRACT ||
                        n->reset == ESNN_RESET_SUBTRACT_AT_ONCE ||
                        n->reset == ESNN_RESET_SUBTRACT_RESIDUE || (p->flags & ESNN_ADAPTS) != 0;
    const uint32_t most = (bounded ? ESNN_THRESHOLD_BOUND - 1u : ESNN_NEVER) -
                          ((p->flags & ESNN_REACHES) != 0 ? 1u : 0u);
    esnn_status status = esnn_check_i32(h, n->above, p->size, 0, (int32_t)most);
    status = status != ESNN_OK ? status : esnn_check_bias(h, n->bias, p->size);
    status = status != ESNN_OK ? status : esnn_check_bias(h, n->membrane_bias, p->size);
    for (size_t k = 0; status == ESNN_OK && k < PARAMETERS; k++) {
        status = check_parameter(h, p, k);
    }
    return status;
}

ESNN_RARE ESNN_APART static int32_t decayed(int32_t x, uint32_t b, uint8_t rule) {
    if (rule == ESNN_RULE_Q15) {
        return esnn_leak(x, b);
    }
    if (rule == ESNN_RULE_BIT_SHIFT) {
        const int32_t lost = x >> b;
        return x - (lost == 0 && x > 0 ? 1 : lost);
    }
    const uint32_t size = x < 0 ? 0u - (uint32_t)x : (uint32_t)x;
    const int32_t kept = (int32_t)((size >> 12) * b + (((size & 0xfffu) * b) >> 12));
    return x < 0 ? -kept : kept;
}

/* Everything of a population, resolved. The states of a neuron lie `size` apart: v, i, h, then of
 * an adaptive threshold a of the coming step, and what a membrane had to be above in the last one,
 * or q (see edgesnn.graph.Adaptation). */
typedef struct {
    const int32_t *above;
    const void *of[PARAMETERS];   /* or NULL */
    const int32_t *membrane_bias; /* or NULL */
    int32_t *v, *i, *h, *a, *last;
    int32_t reaches, membrane_limit, current_limit;
    uint16_t flags, max_spikes;
    uint8_t rule, reset, conduction;
} neurons;

/* where in an array the entry of neuron k is */
static size_t entry(const neurons *n, size_t which, size_t k) {
    return (n->flags >> which & 1) != 0 ? k : 0;
}

static uint32_t u16_of(const neurons *n, size_t which, size_t k) {
    return ((const uint16_t *)n->of[which])[entry(n, which, k)];
}

static int32_t i32_of(const neurons *n, size_t which, size_t k) {
    return ((const int32_t *)n->of[which])[entry(n, which, k)];
}

/* synaptic currents take in x; what of them enters the membrane, of Alpha the membrane itself */
ESNN_RARE static int32_t conduct(const neurons *n, size_t k, int32_t x, int r) {
    const uint32_t decay = u16_of(n, SYNAPTIC, k);
    const int32_t old = n->i[k];
    const int32_t i = n->i[k] = esnn_clamp(decayed(old, decay, n->rule) + x, n->current_limit);
    if (n->h != NULL) {
        const int32_t before = n->h[k];
        x = decayed(before, u16_of(n, INHIBITORY, k), n->rule) - x;
        x = n->h[k] = esnn_clamp(x, n->current_limit);
        if (r && n->reset == ESNN_RESET_SUBTRACT) {
            x += decayed(before, u16_of(n, DECAY, k), n->rule);
            n->i[k] = esnn_clamp(i - i32_of(n, RESET_TO, k), n->current_limit);
            n->h[k] = 0;
        }
        return i + x;
    }
    x = n->conduction == ESNN_JUMPED    ? i
        : n->conduction == ESNN_DECAYED ? decayed(i, decay, n->rule)
                                        : old;
    return n->membrane_bias == NULL ? x : esnn_clamp(x + n->membrane_bias[k], ESNN_CURRENT_LIMIT);
}

/* the membrane that the fire test sees, where r: the neuron spiked in the step before */
ESNN_RARE static int32_t integrate(const neurons *n, size_t k, int32_t x, int r,
                                   int32_t subtracted) {
    if (r && n->reset == ESNN_RESET_ZERO_DISCARD) {
        if (n->h != NULL) {
            n->i[k] = n->h[k] = 0;
        }
        return 0;
    }
    if (n->h != NULL) {
        return esnn_clamp(x, n->membrane_limit);
    }
    int32_t w =
        r && n->reset == ESNN_RESET_ZERO ? 0 : decayed(n->v[k], u16_of(n, DECAY, k), n->rule);
    w += x;
    if (r && (n->reset == ESNN_RESET_SUBTRACT || n->reset == ESNN_RESET_SUBTRACT_RESIDUE)) {
        w -= subtracted;
    }
    return esnn_clamp(w, n->membrane_limit);
}

/* an adaptive threshold after s spikes */
ESNN_RARE static void adapt(const neurons *n, size_t k, int32_t above, int32_t s) {
    const int32_t raised = s * i32_of(n, STEP, k), limit = ESNN_CURRENT_LIMIT / 2;
    if (n->of[REFRACTORY] != NULL) {
        n->last[k] = esnn_clamp(n->last[k] + 2 * s * (above + n->reaches), ESNN_CURRENT_LIMIT);
        n->a[k] = esnn_clamp(n->a[k] + raised, limit);
    } else {
        n->last[k] = above;
        n->a[k] = decayed(n->a[k], u16_of(n, ADAPTATION, k), n->rule) + raised;
        n->a[k] = esnn_clamp(n->a[k], limit);
    }
}

/* one neuron, one step: its spikes */
ESNN_RARE static int32_t fire(const neurons *n, size_t k, int32_t x, int32_t raised) {
    const int refractory = n->of[REFRACTORY] != NULL;
    int32_t above = n->above[k];
    int r = n->v[k] > above;
    int32_t subtracted = above + n->reaches;
    if (n->a != NULL) {
        r = n->v[k] > n->last[k];
        if (refractory) {
            r = 0;
            n->a[k] = decayed(n->a[k], u16_of(n, ADAPTATION, k), n->rule);
            n->last[k] = decayed(n->last[k], u16_of(n, REFRACTORY, k), n->rule);
        }
        const int32_t threshold =
            esnn_clamp(above + n->reaches + n->a[k] + raised, ESNN_CURRENT_LIMIT);
        above = threshold - n->reaches;
        subtracted = (n->flags & ESNN_OLD) != 0 ? n->last[k] + n->reaches : threshold;
    }
    if (n->i != NULL) {
        x = conduct(n, k, x, r);
    }
    int32_t v = integrate(n, k, x, r, subtracted);
    int32_t s = (refractory ? v - n->last[k] : v) > above;
    if (s != 0 && n->max_spikes > 1) {
        s = v / (above + n->reaches);
        s = s < n->max_spikes ? s : n->max_spikes;
    }
    if (n->reset == ESNN_RESET_SUBTRACT_AT_ONCE) {
        v = esnn_clamp(v - s * (above + n->reaches), n->membrane_limit);
    } else if (n->reset == ESNN_RESET_ZERO_AT_ONCE && s != 0) {
        v = n->of[RESET_TO] != NULL ? i32_of(n, RESET_TO, k) : 0;
    } else if (n->reset == ESNN_RESET_SUBTRACT_RESIDUE) {
        v = esnn_clamp(v - (s - r) * subtracted, n->membrane_limit);
    }
    if (n->a != NULL) {
        adapt(n, k, above, s);
    }
    if (n->of[FLOOR] != NULL && v < i32_of(n, FLOOR, k)) {
        v = i32_of(n, FLOOR, k);
    }
    n->v[k] = v;
    return s;
}

ESNN_RARE static void resolve(neurons *n, const esnn_model *m, const esnn_population *p,
                              const esnn_slot *slot) {
    const uint8_t *image = m->image;
    const esnn_neurons *r = &p->as.neurons;
    int32_t *state = esnn_words(m->arena, slot->state);
    n->above = esnn_i32(image, r->above);
    n->reaches = (p->flags & ESNN_REACHES) != 0;
    n->flags = p->flags;
    n->max_spikes = r->max_spikes;
    n->rule = r->rule;
    n->conduction = r->conduction;
    n->membrane_bias = r->membrane_bias != 0 ? esnn_i32(image, r->membrane_bias) : NULL;
    n->membrane_limit = (int32_t)1 << (r->state_bits - 1u);
    n->current_limit =
        n->membrane_limit > ESNN_CURRENT_LIMIT ? ESNN_CURRENT_LIMIT : n->membrane_limit;
    n->reset = r->reset;
    for (size_t k = 0; k < PARAMETERS; k++) {
        const uint32_t offset = offset_of(p, k);
        n->of[k] = offset != 0 ? image + offset : NULL;
    }
    n->v = state;
    n->i = n->of[SYNAPTIC] != NULL ? (state += p->size) : NULL;
    n->h = n->of[INHIBITORY] != NULL ? (state += p->size) : NULL;
    n->a = n->last = NULL;
    if ((p->flags & ESNN_ADAPTS) != 0) {
        n->a = state + p->size;
        n->last = n->a + p->size;
    }
}

/* Whether `subtract_all` below serves a population: decays by neuron, delayed subtraction, and no
 * other switch but synaptic currents and thresholds that only projections raise. */
static int is_subtracting(const uint8_t *image, const esnn_population *p) {
    const esnn_neurons *n = &p->as.neurons;
    const uint16_t by_neuron =
        ESNN_DECAY_PER_NEURON | (n->synaptic_decay != 0 ? ESNN_SYNAPTIC_PER_NEURON : 0);
    const uint16_t switches = (uint16_t)~ESNN_ADAPTATION_PER_NEURON;
    const int adapts = (p->flags & ESNN_ADAPTS) != 0;
    return (p->flags & switches) == (by_neuron | (adapts ? ESNN_ADAPTS | ESNN_OLD : 0)) &&
           n->rule == ESNN_RULE_Q15 && n->reset == ESNN_RESET_SUBTRACT && p->bits == 0 &&
           n->inhibitory_decay == 0 && n->floor == 0 && n->refractory == 0 &&
           n->membrane_bias == 0 && n->conduction == ESNN_JUMPED && n->state_bits == 31 &&
           (!adapts || *esnn_i32(image, n->adaptation_step) == 0);
}

/* sat(x, 30) and sat(x, 31), and leak(x, b) + y */
#if defined(ESNN_KERNELS_DSP)
static inline int32_t sat30(int32_t x) {
    __asm__("ssat %0, #30, %0" : "+r"(x) : : "cc");
    return x;
}

static inline int32_t sat31(int32_t x) {
    __asm__("ssat %0, #31, %0" : "+r"(x) : : "cc");
    return x;
}

/* (y * 2^32 - 2 x * -(b * 2^16) + 2^31) >> 32, in which b = 2^15 fits as well; zero is 0 in a
 * register, for one instruction to shift and to negate */
static inline int32_t leak_add(int32_t x, uint32_t b, int32_t y, int32_t zero) {
    int32_t sum;
    __asm__("sub %0, %4, %2, lsl #16\n\tsmmlsr %0, %1, %0, %3"
            : "=&r"(sum)
            : "r"(x * 2), "r"(b), "r"(y), "r"(zero));
    return sum;
}

/* k behind what has fired, where w is above: a store under a condition */
static inline uint16_t *note(uint16_t *fired, uint32_t k, int32_t w, int32_t above) {
    __asm__("cmp %1, %2\n\tit gt\n\tstrhgt %3, [%0], #2"
            : "+r"(fired)
            : "r"(w), "r"(above), "r"(k)
            : "cc", "memory");
    return fired;
}
#else
static inline int32_t sat30(int32_t x) { return esnn_clamp(x, ESNN_CURRENT_LIMIT); }
static inline int32_t sat31(int32_t x) { return esnn_clamp(x, ESNN_MEMBRANE_LIMIT); }
static inline int32_t leak_add(int32_t x, uint32_t b, int32_t y, int32_t zero) {
    (void)zero;
    return esnn_leak(x, b) + y;
}

static inline uint16_t *note(uint16_t *fired, uint32_t k, int32_t w, int32_t above) {
    *fired = (uint16_t)k;
    return w > above ? fired + 1 : fired;
}
#endif

/* loops that need all registers there are: by themselves, and unrolled where they are fast */
#if defined(ESNN_KERNELS_DSP) && !defined(__clang__)
#define UNROLLED _Pragma("GCC unroll 4")
#else
#define UNROLLED
#endif

/* synaptic currents i take in and become the currents */
ESNN_APART static void conduct_all(int32_t *current, int32_t *i, const uint16_t *decay,
                                   size_t size) {
    UNROLLED
    for (size_t k = 0; k < size; k++) {
        i[k] = current[k] = sat30(leak_add(i[k], decay[k], current[k], 0));
    }
}

/* what each membrane has to be above in this step, and in `passed` already has */
static void raise_all(int32_t *raised, const int32_t *above, size_t size) {
    UNROLLED
    for (size_t k = 0; k < size; k++) {
        raised[k] = sat30(above[k] + raised[k]);
    }
}

/* `fire` of all neurons; `passed` is what a membrane had to be above in the last step, and becomes
 * what it has to be above now. An index stays where its neuron fires; there is room for it, as no
 * more have fired than were asked. */
ESNN_APART static uint32_t subtract_all(int32_t *v, const int32_t *current, const uint16_t *decay,
                                        int32_t *passed, const int32_t *above, size_t size,
                                        uint16_t *output) {
    uint16_t *fired = output;
    for (uint32_t k = 0; k < size; k++) {
        const int32_t before = *v, now = *above++, last = *passed;
        int32_t w = leak_add(before, *decay++, *current++, 0);
        w -= before > last ? last : 0;
        w = sat31(w);
        *v++ = w;
        *passed++ = now;
        fired = note(fired, k, w, now);
    }
    return (uint32_t)(fired - output);
}

/* the same, of thresholds that stay, what was above them last subtracted already */
ESNN_APART static uint32_t subtract_fixed(int32_t *v, const int32_t *current, const uint16_t *decay,
                                          const int32_t *above, size_t size, uint16_t *output) {
    uint16_t *fired = output;
    for (uint32_t k = 0; k < size; k++) {
        const int32_t w = sat31(leak_add(*v, *decay++, *current++, 0));
        *v++ = w;
        fired = note(fired, k, w, *above++);
    }
    return (uint32_t)(fired - output);
}

ESNN_APART static uint32_t subtracting(const esnn_model *m, const esnn_population *p,
                                       const esnn_slot *slot, const esnn_currents *in) {
    const esnn_neurons *n = &p->as.neurons;
    const int32_t *above = esnn_i32(m->image, n->above);
    const uint16_t *decay = esnn_u16(m->image, n->decay);
    uint16_t *output = esnn_halves(m->arena, slot->output);
    int32_t *v = esnn_words(m->arena, slot->state), *last = v + p->size;
    if (n->synaptic_decay != 0) {
        conduct_all(in->current, last, esnn_u16(m->image, n->synaptic_decay), p->size);
        last += p->size;
    }
    if ((p->flags & ESNN_ADAPTS) == 0) {
        for (const uint16_t *event = output, *end = event + slot->n_events; event != end; event++) {
            in->current[*event] -= above[*event];
        }
        return subtract_fixed(v, in->current, decay, above, p->size, output);
    }
    if (in->raised != NULL) {
        raise_all(in->raised, above, p->size);
        above = in->raised;
    }
    last += p->size; /* behind a, which stays 0 */
    return subtract_all(v, in->current, decay, last, above, p->size, output);
}

/* with whatever switches there are */
ESNN_RARE ESNN_APART static void update_any(const esnn_model *m, const esnn_population *p,
                                            esnn_slot *slot, const esnn_currents *in) {
    neurons n;
    resolve(&n, m, p, slot);
    uint16_t *output = esnn_halves(m->arena, slot->output);
    uint32_t fired = 0;
    for (size_t k = 0; k < p->size; k++) {
        const int32_t raised = in->raised != NULL ? in->raised[k] : 0;
        const int32_t s = fire(&n, k, in->current[k], raised);
        if (p->bits != 0) {
            output[k] = (uint16_t)s;
            fired += s != 0;
        } else if (s != 0) {
            output[fired++] = (uint16_t)k;
        }
    }
    slot->n_events = fired;
}

static void update(const esnn_model *m, const esnn_population *p, esnn_slot *slot,
                   const esnn_currents *in) {
    if (is_subtracting(m->image, p)) {
        slot->n_events = subtracting(m, p, slot, in);
    } else {
        update_any(m, p, slot, in);
    }
}

const esnn_population_operation esnn_op_neuron = {check, update};
