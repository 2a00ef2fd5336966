/* SPDX-License-Identifier: Apache-2.0 */
#include "potentials.h"

#include "esnn_internal.h"

const int32_t *esnn_potentials(const esnn_model *m, uint16_t population) {
    const esnn_slot *slot = &esnn_slots_of(m->arena)[population];
    return (const int32_t *)(const void *)(m->arena + slot->state);
}
