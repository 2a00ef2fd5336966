/* The validator: everything that esnn_step relies on is proved here, once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"

uint32_t esnn_crc32(uint32_t crc, const void *data, size_t size) {
    /* a table of 16 words: half a byte at a time is the best trade of flash for speed here */
    static const uint32_t table[16] = {
        0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u,
        0x4db26158u, 0x5005713cu, 0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu,
        0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu,
    };
    const uint8_t *bytes = (const uint8_t *)data;
    crc = ~crc;
    for (size_t k = 0; k < size; k++) {
        crc ^= bytes[k];
        crc = (crc >> 4) ^ table[crc & 15u];
        crc = (crc >> 4) ^ table[crc & 15u];
    }
    return ~crc;
}

ESNN_ONCE int esnn_inside(const esnn_header *h, uint32_t offset, uint32_t bytes) {
    const uint32_t least = bytes > 0 ? (uint32_t)sizeof *h : 0u; /* 0 says that there is none */
    return (offset & 3u) == 0 && offset >= least && offset <= h->length &&
           bytes <= h->length - offset;
}

ESNN_ONCE uint32_t esnn_times(uint32_t a, uint32_t b) {
    const uint64_t product = (uint64_t)a * b;
    return product > UINT32_MAX ? UINT32_MAX : (uint32_t)product;
}

ESNN_ONCE int esnn_all_zero(const uint32_t *words, size_t n) {
    uint32_t all = 0;
    for (size_t k = 0; k < n; k++) {
        all |= words[k];
    }
    return all == 0;
}

ESNN_ONCE esnn_status esnn_check_u16(const esnn_header *h, uint32_t offset, size_t n,
                                     uint32_t most) {
    if (!esnn_inside(h, offset, 2u * (uint32_t)n)) {
        return ESNN_ERR_FORMAT;
    }
    const uint16_t *values = esnn_u16((const uint8_t *)h, offset);
    for (size_t k = 0; k < n; k++) {
        if (values[k] > most) {
            return ESNN_ERR_BOUND;
        }
    }
    return ESNN_OK;
}

ESNN_ONCE esnn_status esnn_check_i32(const esnn_header *h, uint32_t offset, size_t n, int32_t least,
                                     int32_t most) {
    if (!esnn_inside(h, offset, 4u * (uint32_t)n)) {
        return ESNN_ERR_FORMAT;
    }
    const int32_t *values = esnn_i32((const uint8_t *)h, offset);
    for (size_t k = 0; k < n; k++) {
        if (values[k] < least || values[k] > most) {
            return ESNN_ERR_BOUND;
        }
    }
    return ESNN_OK;
}

ESNN_ONCE esnn_status esnn_check_bias(const esnn_header *h, uint32_t offset, size_t n) {
    const int32_t limit = ESNN_CURRENT_LIMIT - 1;
    return offset == 0 ? ESNN_OK : esnn_check_i32(h, offset, n, -limit, limit);
}

uint32_t esnn_bias_of(const esnn_population *p) {
    switch (p->kind) {
    case ESNN_LIF:
    case ESNN_NEURON:
        return p->as.neurons.bias;
    case ESNN_INTEGRATOR:
        return p->as.integrator.bias;
    default:
        return 0;
    }
}

/* upper bound of how many synapses of a projection end at one neuron */
ESNN_ONCE static uint32_t fan_in(const esnn_header *h, const esnn_projection *q) {
    const uint8_t *image = (const uint8_t *)h;
    const esnn_window *w = &q->as.window;
    const esnn_delayed *d = &q->as.delayed;
    if (q->kind == ESNN_DELAYED) {
        const uint32_t listed = ((const uint32_t *)(const void *)(image + d->starts))[d->n_in];
        const uint32_t most = d->n_in * (d->longest + 1u);
        return listed < most ? listed : most;
    }
    if (q->kind == ESNN_CONV || q->kind == ESNN_POOL) {
        return (uint32_t)w->kernel_height * w->kernel_width * (w->in_channels / w->groups);
    }
    return q->as.dense.n_in;
}

/* binary places of the largest product of a weight and what its source emits, shifted */
ESNN_ONCE static uint32_t product_bits(const esnn_projection *q, const esnn_population *source) {
    uint32_t bits = q->shift + (source->bits != 0 ? source->bits - 1u : 0u);
    if (q->kind <= ESNN_DENSE_VALUES) {
        return bits + q->as.dense.bits - 1u;
    }
    return q->kind == ESNN_POOL ? bits : bits + 7u;
}

ESNN_ONCE uint32_t esnn_largest_current(const esnn_header *h, uint16_t k, uint8_t port) {
    const uint8_t *image = (const uint8_t *)h;
    const esnn_population *populations = esnn_populations_of(image), *p = &populations[k];
    const esnn_projection *q = esnn_projections_of(image) + p->first_projection;
    const uint32_t bias = port == ESNN_PORT_CURRENT ? esnn_bias_of(p) : 0;
    uint32_t bound = 0;
    for (size_t j = 0; bias != 0 && j < p->size; j++) {
        const int32_t b = esnn_i32(image, bias)[j];
        const uint32_t size = b < 0 ? 0u - (uint32_t)b : (uint32_t)b;
        bound = size > bound ? size : bound;
    }
    for (uint16_t j = 0; j < p->n_projections; j++, q++) {
        if (q->port == port) {
            const uint32_t bits = product_bits(q, &populations[q->source]), n = fan_in(h, q);
            if (bits >= 29u || n > (ESNN_CURRENT_BOUND >> bits)) {
                return ESNN_CURRENT_BOUND;
            }
            bound += n << bits;
        }
        if (bound >= ESNN_CURRENT_BOUND) {
            return ESNN_CURRENT_BOUND;
        }
    }
    return bound;
}

ESNN_ONCE static esnn_status check_header(const void *image, size_t size) {
    const esnn_header *h = esnn_header_of(image);
    if (size < sizeof *h) {
        return ESNN_ERR_LENGTH;
    }
    if (h->magic[0] != 'E' || h->magic[1] != 'S' || h->magic[2] != 'N' || h->magic[3] != 'N') {
        return ESNN_ERR_MAGIC;
    }
    if (h->version != ESNN_VERSION || h->header_size != sizeof *h) {
        return ESNN_ERR_VERSION;
    }
    if (h->length != size) {
        return ESNN_ERR_LENGTH;
    }
    const size_t covered = offsetof(esnn_header, arena_bytes);
    if (h->crc != esnn_crc32(0, (const uint8_t *)image + covered, size - covered)) {
        return ESNN_ERR_CRC;
    }
    if (h->zero != 0 || h->reserved != 0 || h->n_populations < 2 ||
        !esnn_inside(h, h->populations, h->n_populations * (uint32_t)sizeof(esnn_population)) ||
        !esnn_inside(h, h->projections, h->n_projections * (uint32_t)sizeof(esnn_projection))) {
        return ESNN_ERR_FORMAT;
    }
    return ESNN_OK;
}

ESNN_ONCE static esnn_status check_input(const esnn_header *h, const esnn_population *p) {
    const int analog = p->kind == ESNN_ANALOG_INPUT;
    const uint32_t at = p->as.input.fraction_bits;
    if ((!analog && p->kind != ESNN_SPIKE_INPUT) || p->flags != 0 || p->first_projection != 0 ||
        p->n_projections != 0 || !esnn_all_zero(p->as.input.reserved, 12) ||
        (analog ? p->bits < 2 || p->bits > 16 || !esnn_inside(h, at, p->size)
                : p->bits != 0 || at != 0)) {
        return ESNN_ERR_FORMAT;
    }
    const int8_t *fraction_bits = (const int8_t *)h + at;
    for (uint16_t k = 0; analog && k < p->size; k++) {
        if (fraction_bits[k] < ESNN_MIN_FRACTION_BITS ||
            fraction_bits[k] > ESNN_MAX_FRACTION_BITS) {
            return ESNN_ERR_BOUND;
        }
    }
    return ESNN_OK;
}

/* whether all projections into a population are of int8 weights and in the same blocks */
ESNN_ONCE static int in_blocks(const esnn_population *p, const esnn_projection *q) {
    const uint16_t blocks = q->as.dense.blocks;
    int alike = p->n_projections > 0;
    for (uint16_t j = 0; j < p->n_projections && alike; j++) {
        alike = q[j].kind == ESNN_DENSE8 && q[j].as.dense.blocks == blocks &&
                q[j].as.dense.n_out <= ESNN_TILE;
    }
    return alike && blocks > 1;
}

/* what all projections have in common; the projections into population k must follow one another
 * from number `first` */
ESNN_ONCE static esnn_status check_heads(const esnn_header *h, uint16_t k, uint32_t first) {
    const uint8_t *image = (const uint8_t *)h;
    const esnn_population *p = &esnn_populations_of(image)[k];
    if (p->first_projection != first || p->n_projections > h->n_projections - first) {
        return ESNN_ERR_FORMAT;
    }
    const esnn_projection *q = esnn_projections_of(image) + first;
    for (uint16_t j = 0; j < p->n_projections; j++, q++) {
        const int raises = q->port == ESNN_PORT_THRESHOLD;
        if (q->target != k || q->source >= h->n_populations || q->shift > ESNN_MAX_SHIFT ||
            q->zero != 0 || q->kind >= ESNN_PROJECTION_KINDS || q->port > ESNN_PORT_THRESHOLD ||
            (raises && (p->kind != ESNN_NEURON || (p->flags & ESNN_ADAPTS) == 0))) {
            return ESNN_ERR_FORMAT;
        }
    }
    return p->kind != ESNN_LIF_BLOCKS || in_blocks(p, q - p->n_projections) ? ESNN_OK
                                                                            : ESNN_ERR_FORMAT;
}

ESNN_ONCE static esnn_status check_population(const esnn_header *h, uint16_t k) {
    const uint8_t *image = (const uint8_t *)h;
    const esnn_population *p = &esnn_populations_of(image)[k];
    if (p->size == 0 || p->kind >= ESNN_POPULATION_KINDS) {
        return ESNN_ERR_FORMAT;
    }
    if (k == 0) {
        return check_input(h, p);
    }
    if (p->kind <= ESNN_SPIKE_INPUT) {
        return ESNN_ERR_FORMAT;
    }
    const esnn_population_operation *operation = esnn_population_operations[p->kind];
    return operation != NULL ? operation->check(h, p) : ESNN_ERR_OPERATION;
}

/* the projections into population k, whose records are in order, and what they add up to */
ESNN_ONCE static esnn_status check_projections(const esnn_header *h, uint16_t k) {
    const uint8_t *image = (const uint8_t *)h;
    const esnn_population *p = &esnn_populations_of(image)[k];
    const esnn_projection *q = esnn_projections_of(image) + p->first_projection;
    for (uint16_t j = 0; j < p->n_projections; j++) {
        const esnn_projection_operation *operation = esnn_projection_operations[q[j].kind];
        if (operation == NULL) {
            return ESNN_ERR_OPERATION;
        }
        const esnn_status status = operation->check(h, &q[j]);
        if (status != ESNN_OK) {
            return status;
        }
    }
    const int bounded = esnn_largest_current(h, k, ESNN_PORT_CURRENT) < ESNN_CURRENT_BOUND;
    for (uint16_t j = 0; j < p->n_projections && !bounded; j++) {
        if (q[j].port == ESNN_PORT_CURRENT && q[j].kind != ESNN_DENSE_VALUES) {
            return ESNN_ERR_BOUND; /* only these saturate */
        }
    }
    return esnn_largest_current(h, k, ESNN_PORT_THRESHOLD) < ESNN_CURRENT_BOUND ? ESNN_OK
                                                                                : ESNN_ERR_BOUND;
}

ESNN_ONCE static uint32_t state_bytes(const esnn_header *h, const esnn_population *p) {
    const esnn_neurons *n = &p->as.neurons;
    switch (p->kind) {
    case ESNN_NEURON:
        return 4u * p->size *
               (1u + (n->synaptic_decay != 0) + (n->inhibitory_decay != 0) +
                ((p->flags & ESNN_ADAPTS) != 0 ? 2u : 0u));
    case ESNN_INTEGRATOR:
        return 4u * p->size * (1u + (p->as.integrator.threshold != 0));
    case ESNN_LIF_BLOCKS:
        return 4u * p->size + esnn_align(esnn_blocks_of((const uint8_t *)h, p));
    case ESNN_DELAY_LINE:
        return 4u * esnn_bit_words(p->size) * (p->as.delay.longest + 1u);
    case ESNN_ANALOG_INPUT:
    case ESNN_SPIKE_INPUT:
        return 0;
    default:
        return 4u * p->size;
    }
}

uint32_t esnn_history_bytes(const esnn_population *p) {
    return p->bits != 0 ? esnn_align(2u * p->size) : 4u * esnn_bit_words(p->size);
}

ESNN_ONCE uint64_t esnn_lay_out(const esnn_header *h, esnn_model *m, esnn_slot *slots) {
    const esnn_population *p = esnn_populations_of((const uint8_t *)h);
    const esnn_projection *q = esnn_projections_of((const uint8_t *)h);
    uint32_t widest = 0, list = 0;
    int raises = 0;
    for (uint16_t k = 1; k < h->n_populations; k++) {
        widest = p[k].size > widest ? p[k].size : widest;
    }
    for (uint16_t j = 0; j < h->n_projections; j++, q++) {
        raises |= q->port == ESNN_PORT_THRESHOLD;
        if (q->kind <= ESNN_DENSE2 && q->as.dense.n_sources > 0) {
            list = q->as.dense.n_in > list ? q->as.dense.n_in : list;
        }
    }
    list = list < ESNN_LIST_MOST ? list : ESNN_LIST_MOST;
    m->currents = h->n_populations * (uint32_t)sizeof(esnn_slot);
    m->raised = raises ? m->currents + 4u * widest : 0;
    m->list = m->currents + (raises ? 8u : 4u) * widest;
    uint64_t at = m->list + esnn_align(2u * list);
    for (uint16_t k = 0; k < h->n_populations; k++, p++) {
        const uint32_t output = p->kind != ESNN_ANALOG_INPUT ? esnn_align(2u * p->size) : 0u;
        const uint32_t state = state_bytes(h, p);
        if (slots != NULL) {
            slots[k] = (esnn_slot){.state = (uint32_t)at};
            slots[k].output = slots[k].state + state;
            slots[k].history = slots[k].output + output;
        }
        at += state + output + (uint64_t)p->history * esnn_history_bytes(p);
    }
    return at + 4u * esnn_populations_of((const uint8_t *)h)[h->readout_population].size;
}

ESNN_ONCE static esnn_status check_readout(const esnn_header *h) {
    const esnn_population *p = esnn_populations_of((const uint8_t *)h);
    if (h->readout >= ESNN_READOUT_KINDS || h->readout_population == 0 ||
        h->readout_population >= h->n_populations || h->margin > INT32_MAX ||
        (h->margin > 0 && p[h->readout_population].size < 2)) {
        return ESNN_ERR_FORMAT;
    }
    const esnn_readout_operation *operation = esnn_readout_operations[h->readout];
    if (operation == NULL) {
        return ESNN_ERR_OPERATION;
    }
    return operation->check(h, &p[h->readout_population]);
}

ESNN_ONCE static esnn_status check_selftest(const esnn_header *h) {
    const esnn_population *input = esnn_populations_of((const uint8_t *)h);
    const uint32_t n = (uint32_t)h->selftest_steps * input->size;
    if (!esnn_inside(h, h->selftest, esnn_times(n, sizeof(int16_t)))) {
        return ESNN_ERR_FORMAT;
    }
    /* what the input takes; spikes are 0 and 1 */
    const int32_t least = input->bits != 0 ? -((int32_t)1 << (input->bits - 1u)) : 0;
    const int32_t most = input->bits != 0 ? -least - 1 : 1;
    const uint16_t *values = esnn_u16((const uint8_t *)h, h->selftest);
    for (size_t k = 0; k < n; k++) {
        const int32_t value = (int16_t)values[k];
        if (value < least || value > most) {
            return ESNN_ERR_BOUND;
        }
    }
    return ESNN_OK;
}

ESNN_ONCE esnn_status esnn_check(const void *image, size_t size, esnn_info *info) {
    if (image == NULL) {
        return ESNN_ERR_ARGUMENT;
    }
    if (((uintptr_t)image & 3u) != 0) {
        return ESNN_ERR_ALIGN;
    }
    esnn_status status = check_header(image, size);
    if (status != ESNN_OK) {
        return status;
    }
    const esnn_header *h = esnn_header_of(image);
    const esnn_population *p = esnn_populations_of((const uint8_t *)image);
    for (uint16_t k = 0; status == ESNN_OK && k < h->n_populations; k++) {
        status = check_population(h, k);
    }
    uint32_t first = 0;
    for (uint16_t k = 1; status == ESNN_OK && k < h->n_populations; k++) {
        status = check_heads(h, k, first);
        first += p[k].n_projections;
    }
    for (uint16_t k = 1; status == ESNN_OK && k < h->n_populations; k++) {
        status = check_projections(h, k);
    }
    status = status != ESNN_OK ? status : check_readout(h);
    status = status != ESNN_OK ? status : check_selftest(h);
    if (status != ESNN_OK) {
        return status;
    }
    esnn_model m;
    if (first != h->n_projections || esnn_lay_out(h, &m, NULL) != h->arena_bytes) {
        return ESNN_ERR_FORMAT;
    }
    if (info != NULL) {
        info->image_bytes = h->length;
        info->arena_bytes = h->arena_bytes;
        info->step_us = h->step_us;
        info->n_populations = h->n_populations;
        info->input_size = p[0].size;
        info->n_scores = p[h->readout_population].size;
        info->analog_input = p[0].kind == ESNN_ANALOG_INPUT;
    }
    return ESNN_OK;
}
