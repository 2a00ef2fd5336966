/* A sensor of the board's own: what it took last, until a host fetches it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_SENSOR_H
#define ESNN_SENSOR_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t *stamps;        /* room of them, µs of board_micros */
    int16_t *values;         /* room * channels of them */
    uint16_t channels, room; /* room: a power of 2; one less can be fetched */
    uint32_t period;         /* µs from sample to sample, as it is meant to be */
    volatile uint32_t taken; /* samples since the start, wrapping */
} esnn_sensor;

/* Keep a sample, over the oldest one. For interrupts too: there is one that puts, one that gets. */
void esnn_sensor_put(esnn_sensor *s, uint32_t micros, const int16_t *values);

/* Copy samples, each as u32 time stamp and i16 for each channel, from number `first` on, or from
 * the oldest that is kept. At most `most`; returns how many, and in *first the number of the first.
 */
size_t esnn_sensor_get(const esnn_sensor *s, uint32_t *first, uint8_t *to, size_t most);

#endif
