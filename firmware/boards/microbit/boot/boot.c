/* A bootloader that speaks as that of an STM32 does (ST's application note AN3155), so that
 * stm32flash writes the firmware over the UART. It answers for half a second behind each start, and
 * as long as there is no whole firmware, so that one whose writing was cut can be written again.
 *
 * An STM32's addresses from 0x08000000 on stand for the flash behind this program. In the last page
 * before the models is the mark of a whole firmware: its size and CRC-32, written by the command
 * that starts it, erased before anything else is.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "nvmc.h"
#include "registers.h"
#include "start.h"

#define BASE 0x2000u
#define END 0x1fc00u /* and the mark behind it, in a page of its own */
#define PAGE 1024u
#define STM32_FLASH 0x08000000u
#define STM32_ID 0x0410u /* medium density: 128 pages of 1 KB */
#define VERSION 0x22u
#define PATIENCE 500000u /* µs */

enum { SYNC = 0x7f, ACK = 0x79, NACK = 0x1f };
enum {
    GET = 0x00,
    GET_VERSION = 0x01,
    GET_ID = 0x02,
    READ = 0x11,
    GO = 0x21,
    WRITE = 0x31,
    ERASE = 0x43
};

typedef struct {
    uint32_t size, crc;
} mark;

static const mark *const marked = (const mark *)(uintptr_t)END;
static uint32_t written; /* bytes of the firmware, of which the last was written */
static uint32_t block[64];

static uint32_t micros(void) {
    TIMER0(TIMER_CAPTURE_0) = 1;
    return TIMER0(TIMER_COMPARE_0);
}

static void open_devices(void) {
    UART(UART_SEND_PIN) = 24;
    UART(UART_RECEIVE_PIN) = 25;
    UART(UART_BAUD_RATE) = UART_BAUD_115200;
    UART(UART_ENABLE) = UART_ENABLED;
    UART(UART_START_SEND) = 1;
    UART(UART_START_RECEIVE) = 1;
    TIMER0(TIMER_WIDTH) = TIMER_WIDTH_32;
    TIMER0(TIMER_PRESCALER) = TIMER_DIVIDE_16;
    TIMER0(TIMER_START) = 1; /* after the UART: it wakes QEMU, too (clock.c) */
}

/* as they are after a reset */
static void close_devices(void) {
    UART(UART_ENABLE) = 0;
    TIMER0(TIMER_STOP) = 1;
    TIMER0(TIMER_CLEAR) = 1;
}

static void put(uint8_t byte) {
    UART(UART_SENT) = 0;
    UART(UART_SEND_DATA) = byte;
    while (UART(UART_SENT) == 0) {
    }
}

/* the next byte, -1 if none comes in time */
static int get(uint32_t patience) {
    const uint32_t start = micros();
    while (UART(UART_RECEIVED) == 0) {
        if (micros() - start > patience) {
            return -1;
        }
    }
    UART(UART_RECEIVED) = 0;
    return (uint8_t)UART(UART_RECEIVE_DATA);
}

/* n bytes and their exclusive or, which starts with `check` */
static int get_checked(uint8_t *data, size_t n, uint8_t check) {
    for (size_t k = 0; k <= n; k++) {
        const int byte = get(PATIENCE);
        if (byte < 0) {
            return 0;
        }
        check ^= (uint8_t)byte;
        if (k < n) {
            data[k] = (uint8_t)byte;
        }
    }
    return check == 0;
}

/* the place in flash that an STM32's address stands for; 0 if n bytes from there on are not all in
 * the room for the firmware */
static uint32_t get_place(uint32_t *address) {
    uint8_t bytes[4];
    if (!get_checked(bytes, sizeof bytes, 0)) {
        return 0;
    }
    *address =
        (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
    const uint32_t at = *address - STM32_FLASH;
    return at < END - BASE ? BASE + at : 0;
}

static uint32_t crc32(const uint8_t *data, uint32_t size) {
    uint32_t crc = ~0u;
    for (uint32_t k = 0; k < size; k++) {
        crc ^= data[k];
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1u) != 0 ? 0xedb88320u : 0);
        }
    }
    return ~crc;
}

static int is_whole(void) {
    return marked->size > 0 && marked->size <= END - BASE &&
           marked->crc == crc32((const uint8_t *)(uintptr_t)BASE, marked->size);
}

static void start_firmware(void) {
    const uint32_t *vectors = (const uint32_t *)(uintptr_t)BASE;
    close_devices();
    __asm__ volatile("msr msp, %0\n"
                     "bx %1\n" ::"r"(vectors[0]),
                     "r"(vectors[1]));
}

static void on_get(void) {
    static const uint8_t commands[] = {GET, GET_VERSION, GET_ID, READ, GO, WRITE, ERASE};
    put(sizeof commands);
    put(VERSION);
    for (size_t k = 0; k < sizeof commands; k++) {
        put(commands[k]);
    }
    put(ACK);
}

static uint8_t on_read(void) {
    uint32_t address;
    uint8_t n;
    const uint32_t at = get_place(&address);
    if (at == 0) {
        return NACK;
    }
    put(ACK);
    if (!get_checked(&n, 1, 0xff) || at + n >= END) {
        return NACK;
    }
    put(ACK);
    for (uint32_t k = 0; k <= n; k++) {
        put(*(const volatile uint8_t *)(uintptr_t)(at + k));
    }
    return 0;
}

static uint8_t on_write(void) {
    uint32_t address;
    const uint32_t at = get_place(&address);
    if (at == 0 || at % 4 != 0) {
        return NACK;
    }
    put(ACK);
    const int n = get(PATIENCE);
    if (n < 0 || !get_checked((uint8_t *)block, (size_t)n + 1u, (uint8_t)n)) {
        return NACK;
    }
    const uint32_t size = (uint32_t)n + 1u;
    if (size % 4 != 0 || at + size > END) {
        return NACK;
    }
    nvmc_program(at, (const uint8_t *)block, size);
    if (at + size - BASE > written) {
        written = at + size - BASE;
    }
    for (uint32_t k = 0; k < size; k += 4) {
        if (*(const volatile uint32_t *)(uintptr_t)(at + k) != block[k / 4]) {
            return NACK;
        }
    }
    return ACK;
}

static uint8_t on_erase(void) {
    uint8_t *pages = (uint8_t *)block;
    const int n = get(PATIENCE);
    if (n < 0 || !get_checked(pages, n == 0xff ? 0 : (size_t)n + 1u, (uint8_t)n)) {
        return NACK;
    }
    nvmc_erase(END);
    if (n == 0xff) {
        for (uint32_t at = BASE; at < END; at += PAGE) {
            nvmc_erase(at);
        }
        written = 0;
        return ACK;
    }
    for (int k = 0; k <= n; k++) {
        const uint32_t at = BASE + pages[k] * PAGE;
        if (at < END) {
            nvmc_erase(at);
        }
    }
    return ACK;
}

static uint8_t on_go(void) {
    uint32_t address;
    if (get_place(&address) != BASE) {
        return NACK;
    }
    if (!is_whole()) {
        const mark fresh = {written, crc32((const uint8_t *)(uintptr_t)BASE, written)};
        nvmc_erase(END);
        nvmc_program(END, (const uint8_t *)&fresh, sizeof fresh);
    }
    if (!is_whole()) {
        return NACK;
    }
    put(ACK);
    start_firmware();
    return NACK;
}

/* Commands until nothing sensible comes any more. */
static void serve(void) {
    put(ACK);
    for (;;) {
        const int command = get(4 * PATIENCE);
        if (command == SYNC) { /* whoever begins anew takes this for a sign of life, too */
            put(NACK);
            continue;
        }
        const int inverse = get(PATIENCE);
        uint8_t verdict = NACK;
        if (command < 0 || inverse < 0) {
            return;
        }
        if ((command ^ inverse) == 0xff) {
            if (command != GET && command != GET_VERSION && command != GET_ID && command != READ &&
                command != GO && command != WRITE && command != ERASE) {
                put(NACK);
                continue;
            }
            put(ACK);
            verdict = 0;
            if (command == GET) {
                on_get();
            } else if (command == GET_VERSION) {
                put(VERSION);
                put(0);
                put(0);
                put(ACK);
            } else if (command == GET_ID) {
                put(1);
                put(STM32_ID >> 8);
                put(STM32_ID & 0xff);
                put(ACK);
            } else if (command == READ) {
                verdict = on_read();
            } else if (command == GO) {
                verdict = on_go();
            } else if (command == WRITE) {
                verdict = on_write();
            } else {
                verdict = on_erase();
            }
        }
        if (verdict != 0) {
            put(verdict);
        }
    }
}

static void boot(void) {
    open_devices();
    for (;;) {
        const int whole = is_whole();
        const uint32_t start = micros();
        while (!whole || micros() - start < PATIENCE) {
            if (get(PATIENCE / 8) == SYNC) {
                serve();
                break; /* and see whether there is a whole firmware now */
            }
        }
        if (whole) {
            start_firmware();
        }
    }
}

void reset(void) {
    memset(bss_start, 0, (uintptr_t)bss_end - (uintptr_t)bss_start);
    boot();
}

/* This processor looks for its vectors here, whatever runs: pass on what is the firmware's. */
__attribute__((naked)) static void pass_on(void) {
    __asm__ volatile("mrs r1, ipsr\n"
                     "lsl r1, r1, #2\n"
                     "mov r0, #1\n"
                     "lsl r0, r0, #13\n" /* BASE */
                     "ldr r0, [r0, r1]\n"
                     "bx r0\n");
}

typedef struct {
    const void *stack_top;
    void (*handlers[47])(void);
} vector_table;

#define FOUR pass_on, pass_on, pass_on, pass_on
#define SIXTEEN FOUR, FOUR, FOUR, FOUR

__attribute__((section(".start"), used)) static const vector_table vectors = {
    stack_top, {reset, pass_on, pass_on, FOUR, FOUR, FOUR, SIXTEEN, SIXTEEN}};
