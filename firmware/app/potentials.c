/* SPDX-License-Identifier: Apache-2.0 */
#include "potentials.h"

#include "esnn_internal.h"

const int32_t *esnn_potentials(const esnn_model *m, uint16_t population) {
    const esnn_slot *slot = &esnn_slots_of(m->arena)[population];
    if (esnn_populations_of(m->image)[population].kind == ESNN_DELAY_LINE) {
        return NULL; /* its state is the spikes that it holds back */
    }
    return (const int32_t *)(const void *)(m->arena + slot->state);
}
