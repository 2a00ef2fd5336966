/* The check of a signature, on a stack of its own: it needs more than the 16 KB of RAM leave for
 * the stack, and the arena is free while it runs (app.c). SPDX-License-Identifier: Apache-2.0 */
#include "flash.h"
#include "signature.h"
#include "start.h"

typedef struct {
    const uint8_t *signature, *key, *data;
    size_t size;
    int verdict;
} question;

static void answer(void *context) {
    question *q = context;
    q->verdict = esnn_signature_check(q->signature, q->key, q->data, q->size);
}

__attribute__((naked, noinline)) static void call_on_stack(void (*function)(void *)
                                                               __attribute__((unused)),
                                                           void *context __attribute__((unused)),
                                                           void *top __attribute__((unused))) {
    __asm__ volatile("push {r4, lr}\n"
                     "mov r4, sp\n"
                     "mov sp, r2\n"
                     "mov r2, r0\n"
                     "mov r0, r1\n"
                     "blx r2\n"
                     "mov sp, r4\n"
                     "pop {r4, pc}\n");
}

int board_check(const uint8_t *signature, const uint8_t *key, const uint8_t *data, size_t size) {
    question q = {signature, key, data, size, 1};
    call_on_stack(answer, &q, arena_end());
    return q.verdict;
}
