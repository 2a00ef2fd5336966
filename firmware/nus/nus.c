/* SPDX-License-Identifier: Apache-2.0 */
#include "nus.h"

#include <string.h>

#include "board.h"

/* not every stack tells when it has room again */
#define RETRY_MS 5u

/* NUS_RING is a power of two: the counts of a ring run on and wrap at 2^32 */
typedef char assert_ring[(NUS_RING & (NUS_RING - 1u)) == 0 ? 1 : -1];

typedef struct {
    uint32_t put, taken;
    uint8_t bytes[NUS_RING];
} ring;

static ring received, to_send;
static uint32_t overruns;
static size_t notification; /* bytes that fit into one; 0: nobody listens */
static uint32_t listener;   /* counts them: what one has not heard is not for the next */

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static size_t held(const ring *r) { return r->put - r->taken; }

/* as many as there is room for */
static size_t put(ring *r, const uint8_t *data, size_t size) {
    const size_t n = smaller(size, NUS_RING - held(r));
    const size_t at = r->put % NUS_RING;
    const size_t first = smaller(n, NUS_RING - at);
    memcpy(r->bytes + at, data, first);
    memcpy(r->bytes, data + first, n - first);
    r->put += (uint32_t)n;
    return n;
}

/* as many as there are; they stay */
static size_t peek(const ring *r, uint8_t *data, size_t max) {
    const size_t n = smaller(max, held(r));
    const size_t at = r->taken % NUS_RING;
    const size_t first = smaller(n, NUS_RING - at);
    memcpy(data, r->bytes + at, first);
    memcpy(data + first, r->bytes, n - first);
    return n;
}

void nus_received(const uint8_t *data, size_t size) {
    nus_lock();
    overruns += (uint32_t)(size - put(&received, data, size));
    nus_unlock();
    nus_wake();
}

void nus_listens(size_t bytes) {
    nus_lock();
    notification = smaller(bytes, NUS_NOTIFICATION);
    if (notification == 0) {
        to_send.taken = to_send.put;
        listener++;
    }
    nus_unlock();
    nus_wake();
}

/* Hand what waits to the stack, of a part of a notification only the last; 1 if something is left
 * that the stack had no room for. */
static int pump(int last) {
    uint8_t data[NUS_NOTIFICATION];
    for (;;) {
        nus_lock();
        const uint32_t whose = listener;
        const size_t n = peek(&to_send, data, notification);
        const int partial = n < notification;
        nus_unlock();
        if (n == 0 || (partial && !last)) {
            return 0;
        }
        if (nus_notify(data, n) != 0) {
            return 1;
        }
        nus_lock();
        if (whose == listener) {
            to_send.taken += (uint32_t)n;
        }
        nus_unlock();
    }
}

size_t board_read(uint8_t *data, size_t max) {
    for (;;) {
        nus_lock();
        const size_t n = peek(&received, data, max);
        received.taken += (uint32_t)n;
        nus_unlock();
        /* answers to come may fill a notification, unless there is nothing left to answer */
        const int left = pump(n == 0);
        if (n > 0) {
            return n;
        }
        nus_sleep(left ? RETRY_MS : 0);
    }
}

void board_write(const uint8_t *data, size_t n) {
    while (n > 0) {
        nus_lock();
        const size_t k = notification == 0 ? n : put(&to_send, data, n);
        nus_unlock();
        data += k;
        n -= k;
        if (n > 0 && pump(1)) {
            nus_sleep(RETRY_MS);
        }
    }
}

void nus_drain(void) {
    while (pump(1)) {
        nus_sleep(RETRY_MS);
    }
}

size_t board_window(void) { return NUS_RING; }

uint32_t board_overruns(void) { return overruns; }
