/* The link: CMSDK UART0, driven by interrupts in both directions.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>

#include "board.h"
#include "mps2.h"

#define BAUD 115200u
#define RING 4096u /* a power of two: the counts of a ring run on and wrap at 2^32 */

typedef struct {
    uint32_t data, state, control, interrupts, divider;
} uart_registers;

#define UART ((volatile uart_registers *)0x40004000u)
#define TIMER0_CONTROL (*(volatile uint32_t *)0x40000000u)
#define TIMER0_VALUE (*(volatile uint32_t *)0x40000004u)
#define NVIC_ENABLE (*(volatile uint32_t *)0xe000e100u)
#define NVIC_PEND (*(volatile uint32_t *)0xe000e200u)

enum { SEND_FULL = 1, RECEIVE_FULL = 2 };                                  /* state */
enum { SEND = 1, RECEIVE = 2, SEND_INTERRUPT = 4, RECEIVE_INTERRUPT = 8 }; /* control */
enum { SENT = 1, RECEIVED = 2 };                                           /* interrupts */
enum { RECEIVE_IRQ = 0, SEND_IRQ = 1 };

/* One writer and one reader, of which one is an interrupt: each changes only its own count, so
 * that nothing needs a lock and interrupts stay on while bytes are copied. */
typedef struct {
    uint32_t put, taken;
    uint8_t bytes[RING];
} ring;

static volatile ring received, to_send;

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

/* Interrupts are masked from the test to the wfi, which a masked interrupt wakes as well: one that
 * comes in between is not slept through. It runs where they are let in. */
static void sleep_while_held(const volatile ring *r, uint32_t count) {
    __asm__ volatile("cpsid i" ::: "memory");
    while (held(r) == count) {
        __asm__ volatile("dsb\n wfi\n cpsie i\n isb\n cpsid i" ::: "memory");
    }
    __asm__ volatile("cpsie i" ::: "memory");
}

void uart_start(void) {
    UART->divider = CLOCK_HZ / BAUD;
    UART->control = SEND | RECEIVE | SEND_INTERRUPT | RECEIVE_INTERRUPT;
    /* QEMU notices only when its main loop wakes, up to 1 s from now, that bytes are taken here: a
     * timer that runs out wakes it (as would a read of data, which could take a byte unseen) */
    TIMER0_VALUE = 1;
    TIMER0_CONTROL = 1;
    NVIC_ENABLE = 1u << RECEIVE_IRQ | 1u << SEND_IRQ;
}

/* both acknowledge first: a byte that comes or goes afterwards raises the interrupt again */

void uart_receive_interrupt(void) {
    UART->interrupts = RECEIVED;
    while ((UART->state & RECEIVE_FULL) != 0) {
        const uint8_t byte = (uint8_t)UART->data;
        if (held(&received) < RING) { /* false only for a host that overfills its window */
            put(&received, byte);
        }
    }
}

void uart_send_interrupt(void) {
    UART->interrupts = SENT;
    while (held(&to_send) > 0 && (UART->state & SEND_FULL) == 0) {
        UART->data = take(&to_send);
    }
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

void board_write(const uint8_t *data, size_t n) {
    while (n > 0) {
        sleep_while_held(&to_send, RING);
        for (; n > 0 && held(&to_send) < RING; n--) {
            put(&to_send, *data++);
        }
        /* an idle UART raises no interrupt: start it by hand; once too often does no harm */
        NVIC_PEND = 1u << SEND_IRQ;
    }
}
