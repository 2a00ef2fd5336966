/* Populations that emit values: integrators and linear states.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"

static int32_t rounded(int32_t x, uint32_t shift) {
    return shift == 0 ? x : ((x >> (shift - 1u)) + 1) >> 1;
}

/* state x as a value of so many bits */
static int32_t value_of(int32_t x, uint32_t shift, uint32_t bits) {
    return esnn_clamp(rounded(x, shift), (int32_t)1 << (bits - 1u));
}

static int known_bits(const esnn_population *p) { return p->bits >= 2 && p->bits <= 16; }

ESNN_ONCE static esnn_status check_integrator(const esnn_header *h, const esnn_population *p) {
    const esnn_integrator *r = &p->as.integrator;
    const uint16_t n = r->n_scales;
    if (!known_bits(p) || (p->flags & ~(ESNN_DECAY_PER_NEURON | ESNN_ROUNDS_ONCE)) != 0 ||
        r->shift > ESNN_MAX_STATE_SHIFT || r->activation > ESNN_TABLE || r->low > r->high ||
        !esnn_all_zero(r->reserved, 4) || (n == 0 && !esnn_all_zero(&r->multiplier, 3)) ||
        (r->threshold != 0) != (r->offset != 0) || (r->threshold != 0 && r->table != 0) ||
        (r->activation == ESNN_TABLE) != (r->table != 0) ||
        (r->table != 0 && (p->bits != 16 || !esnn_inside(h, r->table, 2u * ESNN_TABLE_SIZE)))) {
        return ESNN_ERR_FORMAT;
    }
    const size_t entries = (p->flags & ESNN_DECAY_PER_NEURON) != 0 ? p->size : 1u;
    esnn_status status = esnn_check_u16(h, r->decay, entries, ESNN_DECAY_ONE);
    status = status != ESNN_OK ? status : esnn_check_u16(h, r->places, n, 31u);
    status = status != ESNN_OK ? status : esnn_check_i32(h, r->multiplier, n, 0, INT32_MAX);
    if (status == ESNN_OK && r->threshold != 0) {
        status = esnn_check_i32(h, r->threshold, p->size, 0, ESNN_NEVER);
        status = status != ESNN_OK ? status : esnn_check_bias(h, r->offset, p->size);
    }
    return status != ESNN_OK ? status : esnn_check_bias(h, r->bias, p->size);
}

/* no product passes 2^61 */
ESNN_RARE ESNN_APART static void requantize(const uint8_t *image, const esnn_population *p,
                                            int32_t *v) {
    const esnn_integrator *r = &p->as.integrator;
    const int32_t *multiplier = esnn_i32(image, r->multiplier);
    const uint16_t *places = esnn_u16(image, r->places);
    for (size_t j = 0, k = 0; j < p->size; j++, k = k + 1u < r->n_scales ? k + 1u : 0) {
        const int64_t product = (int64_t)v[j] * multiplier[k];
        const int32_t half = (int32_t)((1u << places[k]) >> 1);
        int32_t y = (int32_t)((product + (1 << 30)) >> 31), down = y < 0;
        if ((p->flags & ESNN_ROUNDS_ONCE) != 0) {
            y = (int32_t)(product >> 31) | ((uint32_t)product << 1 != 0);
            down = ~(y >> places[k]) & 1;
        }
        y = (y + half - (half != 0 ? down : 0)) >> places[k];
        v[j] = y < r->low ? r->low : y > r->high ? r->high : y;
    }
}

static int32_t activated(const esnn_integrator *r, const int16_t *table, int32_t y) {
    if (r->activation == ESNN_RELU) {
        return y > 0 ? y : 0;
    }
    if (r->activation == ESNN_TABLE) {
        const uint32_t at = (uint32_t)(y + 32768);
        const int32_t left = table[at >> 8], right = table[(at >> 8) + 1u];
        return left + (((right - left) * (int32_t)(at & 255u) + 128) >> 8);
    }
    return y;
}

/* by how much each has changed since it was last emitted, where that is enough; returns how many */
ESNN_RARE ESNN_APART static uint32_t changes(const uint8_t *image, const esnn_population *p,
                                             int32_t *v, uint16_t *output) {
    const esnn_integrator *r = &p->as.integrator;
    const int32_t *threshold = esnn_i32(image, r->threshold), *offset = esnn_i32(image, r->offset);
    int32_t *sent = v + p->size;
    uint32_t emitted = 0;
    for (size_t j = 0; j < p->size; j++) {
        const int32_t a = esnn_clamp(v[j] + offset[j], ESNN_MEMBRANE_LIMIT);
        int32_t d = (r->activation == ESNN_RELU && a < 0 ? 0 : a) - sent[j];
        d = (d < 0 ? -d : d) >= threshold[j] ? d : 0;
        sent[j] += d;
        d = esnn_clamp(d >> r->shift, (int32_t)1 << (p->bits - 1u));
        output[j] = (uint16_t)d;
        emitted += d != 0;
    }
    return emitted;
}

static void integrate(const esnn_model *m, const esnn_population *p, esnn_slot *slot,
                      const esnn_currents *in) {
    const esnn_integrator *r = &p->as.integrator;
    const uint16_t *decay = esnn_u16(m->image, r->decay);
    const size_t stride = (p->flags & ESNN_DECAY_PER_NEURON) != 0;
    const int16_t *table = (const int16_t *)(const void *)(m->image + r->table);
    int32_t *v = esnn_words(m->arena, slot->state);
    uint16_t *output = esnn_halves(m->arena, slot->output);
    uint32_t emitted = 0;
    for (size_t j = 0; j < p->size; j++, decay += stride) {
        v[j] = esnn_clamp(esnn_leak(v[j], *decay) + in->current[j], ESNN_MEMBRANE_LIMIT);
    }
    if (r->n_scales != 0) {
        requantize(m->image, p, v);
    }
    if (r->threshold != 0) {
        slot->n_events = changes(m->image, p, v, output);
        return;
    }
    const uint32_t shift = r->shift;
    const int32_t limit = (int32_t)1 << (p->bits - 1u);
    if (r->activation == ESNN_IDENTITY && shift > 0) { /* a trace: nothing to decide in the loop */
        for (size_t j = 0; j < p->size; j++) {
            const int32_t y = esnn_clamp(((v[j] >> (shift - 1u)) + 1) >> 1, limit);
            output[j] = (uint16_t)y;
            emitted += y != 0;
        }
    } else {
        for (size_t j = 0; j < p->size; j++) {
            const int32_t y = activated(r, table, value_of(v[j], shift, p->bits));
            output[j] = (uint16_t)y;
            emitted += y != 0;
        }
    }
    slot->n_events = emitted;
}

const esnn_population_operation esnn_op_integrator = {check_integrator, integrate};

ESNN_ONCE static esnn_status check_linear_state(const esnn_header *h, const esnn_population *p) {
    const esnn_linear_state *r = &p->as.linear;
    const uint8_t *image = (const uint8_t *)h;
    if (!known_bits(p) || p->flags != 0 || !esnn_all_zero(r->reserved, 9) || r->order == 0 ||
        (uint32_t)r->order * r->blocks != p->size ||
        !esnn_inside(h, r->matrix, esnn_times(2u * r->order, r->order)) ||
        !esnn_inside(h, r->matrix_shift, r->order) || !esnn_inside(h, r->shift, r->order)) {
        return ESNN_ERR_FORMAT;
    }
    for (size_t k = 0; k < r->order; k++) {
        if (image[r->matrix_shift + k] > 31u || image[r->shift + k] > ESNN_MAX_STATE_SHIFT) {
            return ESNN_ERR_BOUND;
        }
    }
    return ESNN_OK;
}

/* one state: row of the matrix times the memory's states before, and its current */
static int32_t transition(const int16_t *row, const int32_t *before, size_t order, uint32_t shift,
                          int32_t current) {
    const int64_t limit = ESNN_MEMBRANE_LIMIT;
    int64_t sum = 0;
    for (size_t j = 0; j < order; j++) {
        sum += (int64_t)row[j] * before[j];
    }
    sum = (shift == 0 ? sum : ((sum >> (shift - 1u)) + 1) >> 1) + current;
    return (int32_t)(sum < -limit ? -limit : sum > limit - 1 ? limit - 1 : sum);
}

static void move(const esnn_model *m, const esnn_population *p, esnn_slot *slot,
                 const esnn_currents *in) {
    const esnn_linear_state *r = &p->as.linear;
    const int16_t *matrix = (const int16_t *)(const void *)(m->image + r->matrix);
    const uint8_t *matrix_shift = m->image + r->matrix_shift, *shift = m->image + r->shift;
    int32_t *state = esnn_words(m->arena, slot->state);
    uint16_t *output = esnn_halves(m->arena, slot->output);
    int32_t *after = in->current; /* every current is used once, where the new state goes */
    uint32_t emitted = 0;
    for (size_t at = 0; at < p->size; at += r->order) {
        for (size_t i = 0; i < r->order; i++) {
            after[at + i] = transition(matrix + i * r->order, state + at, r->order, matrix_shift[i],
                                       after[at + i]);
        }
        for (size_t i = 0; i < r->order; i++) {
            const int32_t y = value_of(after[at + i], shift[i], p->bits);
            state[at + i] = after[at + i];
            output[at + i] = (uint16_t)y;
            emitted += y != 0;
        }
    }
    slot->n_events = emitted;
}

const esnn_population_operation esnn_op_linear_state = {check_linear_state, move};
