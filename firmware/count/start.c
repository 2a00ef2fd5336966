/* From reset to main, and the calls to the debugger, for every core. Built with -Os: no vector
 * instruction may come before Helium is switched on.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>

#include "guest.h"

enum { OPEN = 0x01, CLOSE = 0x02, WRITE0 = 0x04, WRITE = 0x05, READ = 0x06 };
enum { EXIT_EXTENDED = 0x20, APPLICATION_EXIT = 0x20026, MODE_RB = 1, MODE_WB = 5 };

#if defined(__riscv)

static uintptr_t debugger(uintptr_t call, uintptr_t argument) {
    register uintptr_t a0 __asm__("a0") = call;
    register uintptr_t a1 __asm__("a1") = argument;
    /* the three make a call only uncompressed and on one page */
    __asm__ volatile(".balign 16\n"
                     ".option push\n"
                     ".option norvc\n"
                     "slli zero, zero, 0x1f\n"
                     "ebreak\n"
                     "srai zero, zero, 7\n"
                     ".option pop\n"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
}

#else

static uintptr_t debugger(uintptr_t call, uintptr_t argument) {
    register uintptr_t r0 __asm__("r0") = call;
    register uintptr_t r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

#endif

static void leave(int status) {
    const uintptr_t block[2] = {APPLICATION_EXIT, (uintptr_t)status};
    (void)debugger(EXIT_EXTENDED, (uintptr_t)block);
    for (;;) {
    }
}

__attribute__((noinline, used)) void bench_begin(void) { __asm__ volatile("nop"); }

__attribute__((noinline, used)) void bench_end(void) { __asm__ volatile("nop" ::: "memory"); }

void say(const char *text) { (void)debugger(WRITE0, (uintptr_t)text); }

intptr_t open_file(const char *name, int for_writing) {
    uintptr_t length = 0;
    while (name[length] != 0) {
        length++;
    }
    const uintptr_t block[3] = {(uintptr_t)name, for_writing ? MODE_WB : MODE_RB, length};
    return (intptr_t)debugger(OPEN, (uintptr_t)block);
}

/* the debugger tells how many bytes it left undone */
int read_file(intptr_t file, void *data, size_t n) {
    const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)data, n};
    return debugger(READ, (uintptr_t)block) == 0;
}

int write_file(intptr_t file, const void *data, size_t n) {
    const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)data, n};
    return debugger(WRITE, (uintptr_t)block) == 0;
}

int close_file(intptr_t file) {
    const uintptr_t block[1] = {(uintptr_t)file};
    return debugger(CLOSE, (uintptr_t)block) == 0;
}

extern uint32_t bss_start[], bss_end[], stack_top[]; /* from link.ld */

void begin(void);

void begin(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    *(volatile uint32_t *)0xe000ed88u |= 0xf00000u; /* CPACR: floating point and Helium on */
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
    for (volatile uint32_t *p = bss_start; p != bss_end; p++) {
        *p = 0;
    }
    leave(main());
}

#if defined(__riscv)

void stop(void);

void __attribute__((aligned(4))) stop(void) {
    say("FAULT\n");
    leave(2);
}

__asm__(".section .start, \"ax\"\n"
        ".global _start\n"
        "_start:\n"
        "    la sp, stack_top\n"
        "    la t0, stop\n"
        "    csrw mtvec, t0\n"
        "    j begin\n"
        ".text\n");

#else

static void stop(void) {
    say("FAULT\n");
    leave(2);
}

typedef struct {
    const void *stack_top;
    void (*exceptions[15])(void);
} vector_table;

__attribute__((section(".start"), used)) static const vector_table vectors = {
    stack_top,
    {begin, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop},
};

#endif
