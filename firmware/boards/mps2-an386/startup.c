/* Vector table, reset and faults.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <string.h>

#include "mps2.h"

/* from link.ld; arrays, because only their addresses mean something */
extern uint8_t stack_top[], data_start[], data_end[], data_load[], bss_start[], bss_end[];

void reset(void) {
    memcpy(data_start, data_load, (uintptr_t)data_end - (uintptr_t)data_start);
    memset(bss_start, 0, (uintptr_t)bss_end - (uintptr_t)bss_start);
    main();
}

/* A fault or an exception that nobody asked for: r0 tells where, r1 which. Without a debugger the
 * breakpoint locks the core up; QEMU then prints the registers and ends. */
__attribute__((naked)) static void stop(void) {
    __asm__ volatile("ldr r0, [sp, #24]\n" /* the program counter on the exception frame */
                     "mrs r1, ipsr\n"
                     "bkpt 0\n"
                     "b .\n");
}

typedef struct {
    const void *stack_top;
    void (*exceptions[15])(void);
    void (*interrupts[2])(void); /* no others are enabled */
} vector_table;

__attribute__((section(".vectors"), used)) static const vector_table vectors = {
    stack_top,
    {reset, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop},
    {uart_receive_interrupt, uart_send_interrupt},
};
