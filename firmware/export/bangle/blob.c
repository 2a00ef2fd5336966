/* The core and a model as code that runs wherever it lies in RAM, for E.nativeCall of Espruino. It
 * has no variables: all that changes is in memory that the caller gives. SPDX-License-Identifier:
 * Apache-2.0 */
#include <stddef.h>
#include <stdint.h>

#include "esnn.h"
#include "model.h"

typedef struct {
    uint32_t at, kind;
} relocation;

/* at the start of the caller's memory, the arena behind it */
typedef struct {
    esnn_model model;
    esnn_result result;
    int32_t status;
} state;

#define IS_RELATIVE 23u /* R_ARM_RELATIVE: add the address of the code */

/* hidden: found from where the code is, without any of them */
extern const relocation relocations[] __attribute__((visibility("hidden")));
extern const relocation relocations_end[] __attribute__((visibility("hidden")));

int32_t blob_start(uint8_t *memory, uint32_t size, uint8_t *base);
int32_t blob_step(state *s, const int16_t *frame);
int32_t blob_score(const state *s, uint32_t k);
uint32_t blob_digest(const state *s);
void blob_reset(state *s);

/* where blob.ld puts them: every 4 bytes, in this order */
__attribute__((naked, section(".entries"), used)) void entries(void);
void entries(void) {
    __asm__ volatile("b.w blob_start\n"
                     "b.w blob_step\n"
                     "b.w blob_score\n"
                     "b.w blob_digest\n"
                     "b.w blob_reset\n");
}

/* Once for each copy of the code, which lies at `base`, before anything else. 0: `memory` has room
 * and the model is loaded; else a status of esnn.h. */
int32_t blob_start(uint8_t *memory, uint32_t size, uint8_t *base) {
    for (const relocation *r = relocations; r < relocations_end; r++) {
        if ((r->kind & 0xffu) == IS_RELATIVE) {
            *(uint32_t *)(void *)(base + r->at) += (uint32_t)(uintptr_t)base;
        }
    }
    state *s = (state *)(void *)memory;
    const uint32_t head = (uint32_t)sizeof(state);
    if (size < head) {
        return ESNN_ERR_ARENA;
    }
    return esnn_load(&s->model, model_image, MODEL_BYTES, memory + head, size - head);
}

/* The class by now, or a status below 0. */
int32_t blob_step(state *s, const int16_t *frame) {
    s->status = esnn_step(&s->model, frame, &s->result);
    return s->status != ESNN_OK ? s->status : s->result.label;
}

int32_t blob_score(const state *s, uint32_t k) { return s->result.scores[k]; }

uint32_t blob_digest(const state *s) { return esnn_digest(&s->model, 0); }

void blob_reset(state *s) { esnn_reset(&s->model); }
