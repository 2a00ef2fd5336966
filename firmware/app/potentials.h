/* The membranes of a population, for hosts that watch a model.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_POTENTIALS_H
#define ESNN_POTENTIALS_H

#include "esnn.h"

/* Membranes of a population (not 0, the input) after the last step, esnn_size of them; NULL if it
 * has none. */
const int32_t *esnn_potentials(const esnn_model *m, uint16_t population);

#endif
