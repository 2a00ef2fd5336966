/* One window of a blimp's flight with a controller, tick by tick, for pictures and tables.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef EDGESNN_FLY_H
#define EDGESNN_FLY_H

#include <stddef.h>
#include <stdint.h>

#include "blimp.h"

#define FLY_COLUMNS 8 /* set-point, altitude (cm), error, P, D, I, network's command, target */

/* Fly a window; trace gets FLY_COLUMNS numbers a tick. image NULL: without a network, which then
 * answers 0. Returns an esnn_status. */
int blimp_fly(const void *image, size_t size, void *arena, size_t arena_size,
              const blimp_task *task, const int16_t *track, int32_t role, uint32_t seed,
              int32_t *trace, uint32_t *loss);

#endif
