/* Projections that slide over maps: convolution and sum pooling, event by event.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"

ESNN_ONCE static esnn_status check(const esnn_header *h, const esnn_projection *q) {
    const esnn_population *populations = esnn_populations_of((const uint8_t *)h);
    const esnn_window *w = &q->as.window;
    const uint32_t in = esnn_times((uint32_t)w->in_height * w->in_width, w->in_channels);
    const uint32_t out = esnn_times((uint32_t)w->out_height * w->out_width, w->out_channels);
    if (w->kernel_height == 0 || w->kernel_width == 0 || w->stride_y == 0 || w->stride_x == 0 ||
        w->padding_top >= w->kernel_height || w->padding_left >= w->kernel_width ||
        w->groups == 0 || w->in_channels % w->groups != 0 || w->out_channels % w->groups != 0 ||
        !esnn_all_zero(w->reserved, 4) || in != populations[q->source].size ||
        out != populations[q->target].size || q->port != ESNN_PORT_CURRENT) {
        return ESNN_ERR_FORMAT;
    }
    return ESNN_OK;
}

ESNN_ONCE static esnn_status check_conv(const esnn_header *h, const esnn_projection *q) {
    const esnn_window *w = &q->as.window;
    const uint32_t rows = (uint32_t)w->kernel_height * w->kernel_width * w->in_channels;
    if (check(h, q) != ESNN_OK ||
        !esnn_inside(h, q->weights, esnn_times(rows, w->out_channels / w->groups))) {
        return ESNN_ERR_FORMAT;
    }
    return ESNN_OK;
}

ESNN_ONCE static esnn_status check_pool(const esnn_header *h, const esnn_projection *q) {
    const esnn_window *w = &q->as.window;
    const int each_by_itself = w->groups == w->in_channels && w->in_channels == w->out_channels;
    return q->weights == 0 && each_by_itself ? check(h, q) : ESNN_ERR_FORMAT;
}

/* The windows along one axis that a place lies in: of window `first` it is entry `entry` of the
 * kernel, of the next one entry + stride, and so on for `n` windows. Windows count down. */
typedef struct {
    uint32_t first, entry, n;
} windows;

static windows windows_of(uint32_t place, uint32_t padding, uint32_t kernel, uint32_t stride,
                          uint32_t outputs) {
    const uint32_t at = place + padding;
    windows found = {at, 0, 0};
    if (stride > 1) {
        found.first = at / stride;
        found.entry = at - found.first * stride;
    }
    if (found.first >= outputs) { /* the last windows do not reach so far */
        found.entry += (found.first - (outputs - 1u)) * stride;
        found.first = outputs - 1u;
    }
    if (found.entry < kernel) {
        found.n = (kernel - 1u - found.entry) / stride + 1u;
        found.n = found.n <= found.first ? found.n : found.first + 1u;
    }
    return found;
}

static void add_row(int32_t *current, const int8_t *weights, size_t n, int32_t value) {
    for (; n >= 4; n -= 4, current += 4, weights += 4) {
        current[0] += weights[0] * value;
        current[1] += weights[1] * value;
        current[2] += weights[2] * value;
        current[3] += weights[3] * value;
    }
    for (; n > 0; n--) {
        *current++ += *weights++ * value;
    }
}

/* Add what one neuron of the source, at (y, x, c), emits; weights NULL: a sum. Returns how many
 * synapses it met. */
static uint32_t spread(const esnn_window *w, const int8_t *weights, int32_t *current, uint32_t y,
                       uint32_t x, uint32_t c, int32_t value) {
    const windows down =
        windows_of(y, w->padding_top, w->kernel_height, w->stride_y, w->out_height);
    const windows along =
        windows_of(x, w->padding_left, w->kernel_width, w->stride_x, w->out_width);
    const uint32_t outputs = w->out_channels / w->groups;
    const uint32_t first = c / (w->in_channels / w->groups) * outputs;
    for (uint32_t v = 0; v < down.n; v++) {
        const uint32_t oy = down.first - v, ky = down.entry + v * w->stride_y;
        for (uint32_t u = 0; u < along.n; u++) {
            const uint32_t ox = along.first - u, kx = along.entry + u * w->stride_x;
            int32_t *target = current + (oy * w->out_width + ox) * w->out_channels + first;
            if (weights == NULL) {
                *target += value;
            } else {
                const size_t row = (ky * w->kernel_width + kx) * w->in_channels + c;
                add_row(target, weights + row * outputs, outputs, value);
            }
        }
    }
    return down.n * along.n * outputs;
}

/* neurons come in ascending order, so their place in the map is carried along without a division */
static uint32_t project(const esnn_model *m, const esnn_projection *q, int32_t *current,
                        const int16_t *values, const int8_t *weights) {
    const esnn_window *w = &q->as.window;
    const esnn_slot *source = &esnn_slots_of(m->arena)[q->source];
    const uint16_t *events = esnn_halves(m->arena, source->output);
    const uint32_t size = (uint32_t)w->in_height * w->in_width * w->in_channels;
    const uint32_t n = values != NULL ? size : source->n_events;
    const int32_t scale = (int32_t)1 << q->shift;
    uint32_t y = 0, x = 0, place = 0, met = 0; /* place: the first neuron at (y, x) */
    for (uint32_t e = 0; e < n; e++) {
        const uint32_t neuron = values != NULL ? e : events[e];
        while (neuron - place >= w->in_channels) {
            place += w->in_channels;
            if (++x == w->in_width) {
                x = 0;
                y++;
            }
        }
        const int32_t value = values != NULL ? values[e] * scale : scale;
        if (value != 0) {
            met += spread(w, weights, current, y, x, neuron - place, value);
        }
    }
    return met;
}

static uint32_t project_conv(const esnn_model *m, const esnn_projection *q, int32_t *current,
                             const int16_t *values) {
    return project(m, q, current, values, (const int8_t *)(m->image + q->weights));
}

static uint32_t project_pool(const esnn_model *m, const esnn_projection *q, int32_t *current,
                             const int16_t *values) {
    return project(m, q, current, values, NULL);
}

const esnn_projection_operation esnn_op_conv = {check_conv, project_conv};
const esnn_projection_operation esnn_op_pool = {check_pool, project_pool};
