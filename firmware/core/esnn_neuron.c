/* The canonical spiking neuron with all its switches (edgesnn.graph.LIF).
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"

/* An array with an entry a neuron, or one entry for all: mask is then 0. */
typedef struct {
    const void *values;
    size_t mask;
} parameter;

static parameter parameter_of(const uint8_t *image, uint32_t offset, const esnn_population *p,
                              uint16_t per_neuron) {
    const parameter found = {offset != 0 ? image + offset : NULL,
                             (p->flags & per_neuron) != 0 ? ~(size_t)0 : 0};
    return found;
}

static uint32_t u16_of(parameter a, size_t k) { return ((const uint16_t *)a.values)[k & a.mask]; }

static int32_t i32_of(parameter a, size_t k) { return ((const int32_t *)a.values)[k & a.mask]; }

/* how many entries an array has */
static size_t entries(const esnn_population *p, uint16_t per_neuron) {
    return (p->flags & per_neuron) != 0 ? p->size : 1u;
}

static esnn_status check_decay(const esnn_header *h, const esnn_population *p, uint32_t offset,
                               uint16_t per_neuron) {
    static const uint16_t most[] = {ESNN_DECAY_ONE, 1u << 12, 31u};
    if (offset == 0) {
        return (p->flags & per_neuron) != 0 ? ESNN_ERR_FORMAT : ESNN_OK;
    }
    return esnn_check_u16(h, offset, entries(p, per_neuron), most[p->as.neurons.rule]);
}

static esnn_status check_optional(const esnn_header *h, const esnn_population *p, uint32_t offset,
                                  uint16_t per_neuron, int32_t least, int32_t most) {
    if (offset == 0) {
        return (p->flags & per_neuron) != 0 ? ESNN_ERR_FORMAT : ESNN_OK;
    }
    return esnn_check_i32(h, offset, entries(p, per_neuron), least, most);
}

/* which switches go together */
static int known(const esnn_population *p) {
    const esnn_neurons *n = &p->as.neurons;
    const int adapts = (p->flags & ESNN_ADAPTS) != 0, old = (p->flags & ESNN_OLD) != 0;
    const int lagged = (p->flags & ESNN_LAGGED) != 0;
    if (n->rule > ESNN_RULE_BIT_SHIFT || n->reset > ESNN_RESET_SUBTRACT_RESIDUE ||
        p->flags >= ESNN_OLD << 1 || !esnn_all_zero(n->reserved, 2) || n->decay == 0 ||
        (n->reset_to != 0 && n->reset != ESNN_RESET_ZERO_AT_ONCE) ||
        (lagged && n->synaptic_decay == 0)) {
        return 0;
    }
    if (n->inhibitory_decay != 0 &&
        (n->synaptic_decay == 0 || adapts || lagged || n->floor != 0 || n->max_spikes != 1 ||
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
static uint8_t bits_of(uint16_t max_spikes) {
    uint8_t bits = 1;
    for (uint16_t left = max_spikes; max_spikes > 1 && left > 0; left >>= 1) {
        bits++;
    }
    return max_spikes > 1 ? bits : 0;
}

static esnn_status check(const esnn_header *h, const esnn_population *p) {
    const esnn_neurons *n = &p->as.neurons;
    if (!known(p) || p->bits != bits_of(n->max_spikes)) {
        return ESNN_ERR_FORMAT;
    }
    const int bounded = n->reset == ESNN_RESET_SUBTRACT ||
                        n->reset == ESNN_RESET_SUBTRACT_AT_ONCE ||
                        n->reset == ESNN_RESET_SUBTRACT_RESIDUE || (p->flags & ESNN_ADAPTS) != 0;
    const uint32_t most = (bounded ? ESNN_THRESHOLD_BOUND - 1u : ESNN_NEVER) -
                          ((p->flags & ESNN_REACHES) != 0 ? 1u : 0u);
    const int32_t limit = ESNN_CURRENT_LIMIT, step = (int32_t)ESNN_MAX_STEP;
    const esnn_status found[] = {
        esnn_check_i32(h, n->above, p->size, 0, (int32_t)most),
        esnn_check_bias(h, n->bias, p->size),
        check_decay(h, p, n->decay, ESNN_DECAY_PER_NEURON),
        check_decay(h, p, n->synaptic_decay, ESNN_SYNAPTIC_PER_NEURON),
        check_decay(h, p, n->inhibitory_decay, ESNN_INHIBITORY_PER_NEURON),
        check_decay(h, p, n->adaptation_decay, ESNN_ADAPTATION_PER_NEURON),
        check_decay(h, p, n->refractory, ESNN_REFRACTORY_PER_NEURON),
        check_optional(h, p, n->floor, ESNN_FLOOR_PER_NEURON, -ESNN_MEMBRANE_LIMIT, 0),
        check_optional(h, p, n->reset_to, ESNN_RESET_TO_PER_NEURON, 1 - limit, limit - 1),
        check_optional(h, p, n->adaptation_step, ESNN_STEP_PER_NEURON, -step, step),
    };
    for (size_t k = 0; k < sizeof found / sizeof *found; k++) {
        if (found[k] != ESNN_OK) {
            return found[k];
        }
    }
    return ESNN_OK;
}

static int32_t decayed(int32_t x, uint32_t b, uint8_t rule) {
    if (rule == ESNN_RULE_Q15) {
        return esnn_leak(x, b);
    }
    if (rule == ESNN_RULE_BIT_SHIFT) {
        return x - (x >> b);
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
    parameter decay, synaptic, inhibitory, floor, reset_to, adaptation, step, refractory;
    int32_t *v, *i, *h, *a, *last;
    int32_t reaches;
    uint16_t flags, max_spikes;
    uint8_t rule, reset;
} neurons;

/* synaptic currents take in x; what of them enters the membrane */
static int32_t conduct(const neurons *n, size_t k, int32_t x) {
    const int32_t old = n->i[k];
    const int32_t i = decayed(old, u16_of(n->synaptic, k), n->rule) + x;
    n->i[k] = esnn_clamp(i, ESNN_CURRENT_LIMIT);
    if (n->h != NULL) {
        const int32_t h = decayed(n->h[k], u16_of(n->inhibitory, k), n->rule) - x;
        n->h[k] = esnn_clamp(h, ESNN_CURRENT_LIMIT);
    }
    return (n->flags & ESNN_LAGGED) != 0 ? old : n->i[k];
}

/* the membrane that the fire test sees, where r: the neuron spiked in the step before */
static int32_t integrate(const neurons *n, size_t k, int32_t x, int r, int32_t subtracted) {
    int32_t w = 0;
    if (r && n->reset == ESNN_RESET_ZERO_DISCARD) {
        if (n->h != NULL) {
            n->i[k] = n->h[k] = 0;
        }
        return 0;
    }
    if (n->h != NULL) {
        w = n->i[k] + n->h[k];
    } else {
        w = r && n->reset == ESNN_RESET_ZERO ? 0 : decayed(n->v[k], u16_of(n->decay, k), n->rule);
        w += x;
    }
    if (r && (n->reset == ESNN_RESET_SUBTRACT || n->reset == ESNN_RESET_SUBTRACT_RESIDUE)) {
        w -= subtracted;
    }
    return esnn_clamp(w, ESNN_MEMBRANE_LIMIT);
}

/* an adaptive threshold after s spikes */
static void adapt(const neurons *n, size_t k, int32_t above, int32_t s) {
    const int32_t raised = s * i32_of(n->step, k), limit = ESNN_CURRENT_LIMIT / 2;
    if (n->refractory.values != NULL) {
        n->last[k] = esnn_clamp(n->last[k] + 2 * s * (above + n->reaches), ESNN_CURRENT_LIMIT);
        n->a[k] = esnn_clamp(n->a[k] + raised, limit);
    } else {
        n->last[k] = above;
        n->a[k] = decayed(n->a[k], u16_of(n->adaptation, k), n->rule) + raised;
        n->a[k] = esnn_clamp(n->a[k], limit);
    }
}

/* one neuron, one step: its spikes */
static int32_t fire(const neurons *n, size_t k, int32_t x, int32_t raised) {
    const int refractory = n->refractory.values != NULL;
    int32_t above = n->above[k];
    int r = n->v[k] > above;
    int32_t subtracted = above + n->reaches;
    if (n->a != NULL) {
        r = n->v[k] > n->last[k];
        if (refractory) {
            r = 0;
            n->a[k] = decayed(n->a[k], u16_of(n->adaptation, k), n->rule);
            n->last[k] = decayed(n->last[k], u16_of(n->refractory, k), n->rule);
        }
        const int32_t threshold =
            esnn_clamp(above + n->reaches + n->a[k] + raised, ESNN_CURRENT_LIMIT);
        above = threshold - n->reaches;
        subtracted = (n->flags & ESNN_OLD) != 0 ? n->last[k] + n->reaches : threshold;
    }
    if (n->i != NULL) {
        x = conduct(n, k, x);
    }
    int32_t v = integrate(n, k, x, r, subtracted);
    int32_t s = (refractory ? v - n->last[k] : v) > above;
    if (s != 0 && n->max_spikes > 1) {
        s = v / (above + n->reaches);
        s = s < n->max_spikes ? s : n->max_spikes;
    }
    if (n->reset == ESNN_RESET_SUBTRACT_AT_ONCE) {
        v = esnn_clamp(v - s * (above + n->reaches), ESNN_MEMBRANE_LIMIT);
    } else if (n->reset == ESNN_RESET_ZERO_AT_ONCE && s != 0) {
        v = n->reset_to.values != NULL ? i32_of(n->reset_to, k) : 0;
    } else if (n->reset == ESNN_RESET_SUBTRACT_RESIDUE) {
        v = esnn_clamp(v - (s - r) * subtracted, ESNN_MEMBRANE_LIMIT);
    }
    if (n->a != NULL) {
        adapt(n, k, above, s);
    }
    if (n->floor.values != NULL && v < i32_of(n->floor, k)) {
        v = i32_of(n->floor, k);
    }
    n->v[k] = v;
    return s;
}

static neurons resolved(const esnn_model *m, const esnn_population *p, const esnn_slot *slot) {
    const uint8_t *image = m->image;
    const esnn_neurons *r = &p->as.neurons;
    neurons n = {
        .above = esnn_i32(image, r->above),
        .decay = parameter_of(image, r->decay, p, ESNN_DECAY_PER_NEURON),
        .synaptic = parameter_of(image, r->synaptic_decay, p, ESNN_SYNAPTIC_PER_NEURON),
        .inhibitory = parameter_of(image, r->inhibitory_decay, p, ESNN_INHIBITORY_PER_NEURON),
        .floor = parameter_of(image, r->floor, p, ESNN_FLOOR_PER_NEURON),
        .reset_to = parameter_of(image, r->reset_to, p, ESNN_RESET_TO_PER_NEURON),
        .adaptation = parameter_of(image, r->adaptation_decay, p, ESNN_ADAPTATION_PER_NEURON),
        .step = parameter_of(image, r->adaptation_step, p, ESNN_STEP_PER_NEURON),
        .refractory = parameter_of(image, r->refractory, p, ESNN_REFRACTORY_PER_NEURON),
        .reaches = (p->flags & ESNN_REACHES) != 0,
        .flags = p->flags,
        .max_spikes = r->max_spikes,
        .rule = r->rule,
        .reset = r->reset,
    };
    int32_t *state = esnn_words(m->arena, slot->state);
    n.v = state;
    if (n.synaptic.values != NULL) {
        n.i = state += p->size;
    }
    if (n.inhibitory.values != NULL) {
        n.h = state += p->size;
    }
    if ((p->flags & ESNN_ADAPTS) != 0) {
        n.a = state += p->size;
        n.last = state + p->size;
    }
    return n;
}

/* Whether `subtract_all` below serves a population: decays by neuron, delayed subtraction, and no
 * other switch but synaptic currents and thresholds that only projections raise. */
static int is_subtracting(const uint8_t *image, const esnn_population *p) {
    const esnn_neurons *n = &p->as.neurons;
    const uint16_t by_neuron =
        ESNN_DECAY_PER_NEURON | (n->synaptic_decay != 0 ? ESNN_SYNAPTIC_PER_NEURON : 0);
    const uint16_t switches = (uint16_t)~(ESNN_REACHES | ESNN_ADAPTATION_PER_NEURON);
    const int adapts = (p->flags & ESNN_ADAPTS) != 0;
    return (p->flags & switches) == (by_neuron | (adapts ? ESNN_ADAPTS | ESNN_OLD : 0)) &&
           n->rule == ESNN_RULE_Q15 && n->reset == ESNN_RESET_SUBTRACT && p->bits == 0 &&
           n->inhibitory_decay == 0 && n->floor == 0 && n->refractory == 0 &&
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

/* (y * 2^32 - 2 x * -(b * 2^16) + 2^31) >> 32, in which b = 2^15 fits as well */
static inline int32_t leak_add(int32_t x, uint32_t b, int32_t y) {
    int32_t sum;
    __asm__("smmlsr %0, %1, %2, %3" : "=r"(sum) : "r"(x * 2), "r"(0u - (b << 16)), "r"(y));
    return sum;
}
#else
static inline int32_t sat30(int32_t x) { return esnn_clamp(x, ESNN_CURRENT_LIMIT); }
static inline int32_t sat31(int32_t x) { return esnn_clamp(x, ESNN_MEMBRANE_LIMIT); }
static inline int32_t leak_add(int32_t x, uint32_t b, int32_t y) { return esnn_leak(x, b) + y; }
#endif

/* synaptic currents i take in and become the currents */
static void conduct_all(int32_t *current, int32_t *i, const uint16_t *decay, size_t size) {
    for (const int32_t *end = i + size; i != end; i++, current++, decay++) {
        *i = *current = sat30(leak_add(*i, *decay, *current));
    }
}

/* what each membrane has to be above in this step, and in `last` already has */
static void raise_all(int32_t *raised, const int32_t *above, int32_t reaches, size_t size) {
    for (const int32_t *end = raised + size; raised != end; raised++, above++) {
        *raised = sat30(*above + reaches + *raised) - reaches;
    }
}

/* `fire` of all neurons; `passed` is what a membrane had to be above in the last step, and becomes
 * what it has to be above now */
static uint32_t subtract_all(int32_t *v, const int32_t *current, const uint16_t *decay,
                             int32_t *passed, const int32_t *above, int32_t reaches, size_t size,
                             uint16_t *output) {
    uint16_t *fired = output;
    for (size_t k = 0; k < size; k++) {
        const int32_t before = v[k], now = above[k], last = passed[k];
        int32_t w = leak_add(before, decay[k], current[k]);
        w -= before > last ? last + reaches : 0;
        w = sat31(w);
        v[k] = w;
        passed[k] = now;
        if (w > now) {
            *fired++ = (uint16_t)k;
        }
    }
    return (uint32_t)(fired - output);
}

/* the same, of thresholds that stay */
static uint32_t subtract_fixed(int32_t *v, const int32_t *current, const uint16_t *decay,
                               const int32_t *above, int32_t reaches, size_t size,
                               uint16_t *output) {
    uint16_t *fired = output;
    for (size_t k = 0; k < size; k++) {
        const int32_t before = v[k], now = above[k];
        int32_t w = leak_add(before, decay[k], current[k]);
        w -= before > now ? now + reaches : 0;
        w = sat31(w);
        v[k] = w;
        if (w > now) {
            *fired++ = (uint16_t)k;
        }
    }
    return (uint32_t)(fired - output);
}

static uint32_t subtracting(const esnn_model *m, const esnn_population *p, const esnn_slot *slot,
                            const esnn_currents *in) {
    const esnn_neurons *n = &p->as.neurons;
    const int32_t *above = esnn_i32(m->image, n->above);
    const uint16_t *decay = esnn_u16(m->image, n->decay);
    const int32_t reaches = (p->flags & ESNN_REACHES) != 0;
    uint16_t *output = esnn_halves(m->arena, slot->output);
    int32_t *v = esnn_words(m->arena, slot->state), *last = v + p->size;
    if (n->synaptic_decay != 0) {
        conduct_all(in->current, last, esnn_u16(m->image, n->synaptic_decay), p->size);
        last += p->size;
    }
    if ((p->flags & ESNN_ADAPTS) == 0) {
        return subtract_fixed(v, in->current, decay, above, reaches, p->size, output);
    }
    if (in->raised != NULL) {
        raise_all(in->raised, above, reaches, p->size);
        above = in->raised;
    }
    last += p->size; /* behind a, which stays 0 */
    return subtract_all(v, in->current, decay, last, above, reaches, p->size, output);
}

static void update(const esnn_model *m, uint16_t number, const esnn_currents *in) {
    const esnn_population *p = &esnn_populations_of(m->image)[number];
    esnn_slot *slot = &esnn_slots_of(m->arena)[number];
    if (is_subtracting(m->image, p)) {
        slot->n_events = subtracting(m, p, slot, in);
        return;
    }
    const neurons n = resolved(m, p, slot);
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

const esnn_population_operation esnn_op_neuron = {check, update};
