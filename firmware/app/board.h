/* What the stream app asks of a board. A board is a folder under firmware/boards that defines these
 * and calls esnn_app_run (app.h) from its main.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_BOARD_H
#define ESNN_BOARD_H

#include <stddef.h>
#include <stdint.h>

#include "sensor.h"

/* The board's name in the answer to HELLO, at most 31 characters. */
const char *board_name(void);

/* Bytes that arrived on the link, in order: at least 1 and at most max. Sleeps until there are
 * some. 0 only where a link can end (a virtual board): the app then returns. */
size_t board_read(uint8_t *data, size_t max);

/* Bytes that board_read can hold back while the app computes: the window that the host may fill. */
size_t board_window(void);

/* Bytes that were lost because more came than board_read could hold back, since the start. */
uint32_t board_overruns(void);

/* Queue n bytes for sending, in order; sleeps while the queue is full. */
void board_write(const uint8_t *data, size_t n);

/* Microseconds since some moment, wrapping at 2^32; 0 for ever where a board has no clock. */
uint32_t board_micros(void);

/* The board's own sensor, NULL where it has none; asked for each time that samples are fetched. */
esnn_sensor *board_sensor(void);

#endif
