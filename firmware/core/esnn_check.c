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

/* an array of `bytes` bytes at `offset` lies inside the image */
static int inside(const esnn_header *h, uint32_t offset, uint64_t bytes) {
    return (offset & 3u) == 0 && offset <= h->length && bytes <= h->length - offset;
}

static uint32_t largest_magnitude(const int32_t *values, size_t n) {
    uint32_t max = 0;
    for (size_t k = 0; k < n; k++) {
        const uint32_t m = values[k] < 0 ? 0u - (uint32_t)values[k] : (uint32_t)values[k];
        max = m > max ? m : max;
    }
    return max;
}

static esnn_status check_header(const void *image, size_t size) {
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
    if (h->zero != 0 || (h->reserved[0] | h->reserved[1] | h->reserved[2]) != 0 ||
        h->n_populations < 2 ||
        !inside(h, h->populations, (uint64_t)h->n_populations * sizeof(esnn_population)) ||
        !inside(h, h->projections, (uint64_t)h->n_projections * sizeof(esnn_projection))) {
        return ESNN_ERR_FORMAT;
    }
    return ESNN_OK;
}

static esnn_status check_input(const esnn_header *h, const esnn_population *p) {
    const int analog = p->kind == ESNN_ANALOG_INPUT;
    if (!analog && p->kind != ESNN_SPIKE_INPUT) {
        return ESNN_ERR_FORMAT;
    }
    if (p->size == 0 || p->reset != 0 || p->flags != 0 || p->synaptic_decay != 0 ||
        p->threshold != 0 || p->bias != 0 || p->first_projection != 0 || p->n_projections != 0) {
        return ESNN_ERR_FORMAT;
    }
    if (analog ? !inside(h, p->decay, p->size) : p->decay != 0) {
        return ESNN_ERR_FORMAT;
    }
    const int8_t *fraction_bits = (const int8_t *)h + p->decay;
    for (uint16_t k = 0; analog && k < p->size; k++) {
        if (fraction_bits[k] < ESNN_MIN_FRACTION_BITS ||
            fraction_bits[k] > ESNN_MAX_FRACTION_BITS) {
            return ESNN_ERR_BOUND;
        }
    }
    return ESNN_OK;
}

static esnn_status check_decay(const esnn_header *h, uint32_t offset, size_t n) {
    if (!inside(h, offset, (uint64_t)n * sizeof(uint16_t))) {
        return ESNN_ERR_FORMAT;
    }
    const uint16_t *decay = (const uint16_t *)(const void *)((const uint8_t *)h + offset);
    for (size_t k = 0; k < n; k++) {
        if (decay[k] > ESNN_DECAY_ONE) {
            return ESNN_ERR_BOUND;
        }
    }
    return ESNN_OK;
}

static esnn_status check_neurons(const esnn_header *h, const esnn_population *p) {
    const int cuba = p->kind == ESNN_CUBA_LIF;
    const unsigned allowed =
        ESNN_DECAY_PER_NEURON | (cuba ? (unsigned)ESNN_SYNAPTIC_DECAY_PER_NEURON : 0u);
    if ((!cuba && p->kind != ESNN_LIF) || p->reset > ESNN_RESET_ZERO_DISCARD ||
        (p->flags & ~allowed) != 0 || p->size == 0 || (!cuba && p->synaptic_decay != 0)) {
        return ESNN_ERR_FORMAT;
    }
    esnn_status status =
        check_decay(h, p->decay, (p->flags & ESNN_DECAY_PER_NEURON) != 0 ? p->size : 1u);
    if (status == ESNN_OK && cuba) {
        const int per_neuron = (p->flags & ESNN_SYNAPTIC_DECAY_PER_NEURON) != 0;
        status = check_decay(h, p->synaptic_decay, per_neuron ? p->size : 1u);
    }
    if (status != ESNN_OK) {
        return status;
    }
    if (!inside(h, p->threshold, (uint64_t)p->size * sizeof(int32_t)) ||
        (p->bias != 0 && !inside(h, p->bias, (uint64_t)p->size * sizeof(int32_t)))) {
        return ESNN_ERR_FORMAT;
    }
    const uint8_t *image = (const uint8_t *)h;
    const uint32_t limit = p->reset == ESNN_RESET_SUBTRACT ? ESNN_THRESHOLD_BOUND - 1u : ESNN_NEVER;
    const int32_t *threshold = (const int32_t *)(const void *)(image + p->threshold);
    for (uint16_t k = 0; k < p->size; k++) {
        if (threshold[k] < 0 || (uint32_t)threshold[k] > limit) {
            return ESNN_ERR_BOUND;
        }
    }
    return ESNN_OK;
}

static esnn_status check_projection(const esnn_header *h, const esnn_projection *q) {
    const esnn_population *populations = esnn_populations_of((const uint8_t *)h);
    if (q->kind != ESNN_DENSE || q->shift > ESNN_MAX_SHIFT || q->source >= h->n_populations ||
        q->blocks == 0 || q->n_in == 0 || q->n_out == 0 ||
        (q->reserved[0] | q->reserved[1] | q->reserved[2] | q->reserved[3]) != 0) {
        return ESNN_ERR_FORMAT;
    }
    if ((uint32_t)q->blocks * q->n_in != populations[q->source].size ||
        (uint32_t)q->blocks * q->n_out != populations[q->target].size) {
        return ESNN_ERR_FORMAT;
    }
    if (!inside(h, q->weights, (uint64_t)q->n_in * esnn_align(q->n_out))) {
        return ESNN_ERR_FORMAT;
    }
    return ESNN_OK;
}

/* the projections into population k, which must follow one another from number `first` */
static esnn_status check_projections_into(const esnn_header *h, uint16_t k, uint32_t first) {
    const uint8_t *image = (const uint8_t *)h;
    const esnn_population *populations = esnn_populations_of(image);
    const esnn_population *p = &populations[k];
    const esnn_projection *q = esnn_projections_of(image);
    if (p->first_projection != first || p->n_projections > h->n_projections - first) {
        return ESNN_ERR_FORMAT;
    }
    uint64_t current =
        p->bias ? largest_magnitude((const int32_t *)(const void *)(image + p->bias), p->size) : 0u;
    for (uint32_t j = first; j < first + p->n_projections; j++) {
        if (q[j].target != k) {
            return ESNN_ERR_FORMAT;
        }
        const esnn_status status = check_projection(h, &q[j]);
        if (status != ESNN_OK) {
            return status;
        }
        const int analog = populations[q[j].source].kind == ESNN_ANALOG_INPUT;
        current += ((uint64_t)q[j].n_in * 128u << (analog ? 15 : 0)) << q[j].shift;
        if (current >= ESNN_CURRENT_BOUND) {
            return ESNN_ERR_BOUND;
        }
    }
    return current >= ESNN_CURRENT_BOUND ? ESNN_ERR_BOUND : ESNN_OK;
}

/* RAM of the whole image; the layout that esnn_load lays out */
static uint64_t arena_bytes(const esnn_header *h) {
    const esnn_population *p = esnn_populations_of((const uint8_t *)h);
    uint64_t total = (uint64_t)h->n_populations * sizeof(esnn_slot);
    uint32_t widest = 0;
    if (p[0].kind == ESNN_SPIKE_INPUT) {
        total += esnn_align(2u * p[0].size);
    }
    for (uint16_t k = 1; k < h->n_populations; k++) {
        const uint32_t states = p[k].kind == ESNN_CUBA_LIF ? 2u : 1u;
        total += (uint64_t)4u * states * p[k].size + esnn_align(2u * p[k].size);
        widest = p[k].size > widest ? p[k].size : widest;
    }
    return total + 4u * widest + 4u * p[h->readout_population].size;
}

static esnn_status check_readout(const esnn_header *h) {
    const int mode_known = h->readout == ESNN_SPIKE_COUNT ? h->readout_mode == 0
                                                          : h->readout_mode <= ESNN_POTENTIAL_SUM;
    if (h->readout > ESNN_POTENTIAL || !mode_known || h->readout_population == 0 ||
        h->readout_population >= h->n_populations) {
        return ESNN_ERR_FORMAT;
    }
    const esnn_population *input = esnn_populations_of((const uint8_t *)h);
    const uint64_t frames = (uint64_t)h->selftest_steps * input->size * sizeof(int16_t);
    return inside(h, h->selftest, frames) ? ESNN_OK : ESNN_ERR_FORMAT;
}

esnn_status esnn_check(const void *image, size_t size, esnn_info *info) {
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
    for (uint16_t k = 0; k < h->n_populations; k++) {
        if (p[k].zero != 0 || p[k].zero2 != 0 || p[k].reserved != 0) {
            return ESNN_ERR_FORMAT;
        }
        status = k == 0 ? check_input(h, &p[k]) : check_neurons(h, &p[k]);
        if (status != ESNN_OK) {
            return status;
        }
    }
    uint32_t first = 0;
    for (uint16_t k = 1; k < h->n_populations; k++) {
        status = check_projections_into(h, k, first);
        if (status != ESNN_OK) {
            return status;
        }
        first += p[k].n_projections;
    }
    if (first != h->n_projections) {
        return ESNN_ERR_FORMAT;
    }
    status = check_readout(h);
    if (status != ESNN_OK) {
        return status;
    }
    if (arena_bytes(h) != h->arena_bytes) {
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
