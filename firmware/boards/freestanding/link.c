/* SPDX-License-Identifier: Apache-2.0 */
#include "link.h"

#include <stddef.h>

#include "board.h"
#include "cpu.h"
#include "machine.h"

/* RING is a power of two: the counts of a ring run on and wrap at 2^32 */
typedef char assert_ring[(RING & (RING - 1u)) == 0 ? 1 : -1];

/* that a UART may take to send what it has taken from its ring, at 115200 baud */
#define LAST_BYTES_US 2000u

/* One writer and one reader, of which one is an interrupt: each changes only its own count, so
 * that nothing needs a lock and interrupts stay on while bytes are copied. */
typedef struct {
    uint32_t put, taken;
    uint8_t bytes[RING];
} ring;

static volatile ring received, to_send;
static volatile uint32_t overruns;

static uint32_t held(const volatile ring *r) { return r->put - r->taken; }

static void put(volatile ring *r, uint8_t byte) {
    r->bytes[r->put % RING] = byte;
    r->put++;
}

static uint8_t take(volatile ring *r) {
    const uint8_t byte = r->bytes[r->taken % RING];
    r->taken++;
    return byte;
}

static void sleep_while_held(const volatile ring *r, uint32_t count) {
    cpu_mask();
    while (held(r) == count) {
        cpu_sleep();
    }
    cpu_unmask();
}

void link_received(uint8_t byte) {
    if (held(&received) < RING) { /* false only for a host that overfills its window */
        put(&received, byte);
    } else {
        overruns++;
    }
}

int link_next(uint8_t *byte) {
    if (held(&to_send) == 0) {
        return 0;
    }
    *byte = take(&to_send);
    return 1;
}

size_t board_read(uint8_t *data, size_t max) {
    size_t n = 0;
    sleep_while_held(&received, 0);
    while (n < max && held(&received) > 0) {
        data[n++] = take(&received);
    }
    return n;
}

size_t board_window(void) { return RING; }

uint32_t board_overruns(void) { return overruns; }

void board_write(const uint8_t *data, size_t n) {
    while (n > 0) {
        sleep_while_held(&to_send, RING);
        for (; n > 0 && held(&to_send) < RING; n--) {
            put(&to_send, *data++);
        }
        uart_wake();
    }
}

void link_drain(void) {
    for (uint32_t left; (left = held(&to_send)) > 0;) {
        sleep_while_held(&to_send, left);
    }
    const uint32_t start = board_micros();
    while (board_micros() - start < LAST_BYTES_US) {
    }
}
