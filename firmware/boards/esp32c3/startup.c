/* Reset, the watchdogs that the ROM has started, and interrupts.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "cpu.h"
#include "flash.h"
#include "machine.h"
#include "start.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

/* of the group of timers, and of the part that stays awake: each opens with a key */
#define TIMER_WATCHDOG REGISTER(0x6001f048u)
#define TIMER_WATCHDOG_LOCK REGISTER(0x6001f064u)
#define SLOW_WATCHDOG REGISTER(0x60008090u)
#define SLOW_WATCHDOG_LOCK REGISTER(0x600080a8u)
#define SUPER_WATCHDOG REGISTER(0x600080acu)
#define SUPER_WATCHDOG_LOCK REGISTER(0x600080b0u)
#define KEY 0x50d83aa1u
#define SUPER_KEY 0x8f1d312au
#define FEEDS_ITSELF (1u << 31)

/* the processor's clock: the crystal's */
#define CLOCK REGISTER(0x600c0058u)

void rom_reset(void);
void begin(void);

void begin(void) {
    TIMER_WATCHDOG_LOCK = KEY;
    TIMER_WATCHDOG = 0;
    SLOW_WATCHDOG_LOCK = KEY;
    SLOW_WATCHDOG = 0;
    SUPER_WATCHDOG_LOCK = SUPER_KEY;
    SUPER_WATCHDOG |= FEEDS_ITSELF;
    CLOCK &= ~0x3ffu; /* by 1 */
    start();
}

/* What is behind the magic number. The processor knows vectored interrupts alone. */
__attribute__((naked, section(".start"), used)) void reset(void) {
    __asm__ volatile(".option push\n"
                     ".option norvc\n"
                     "la sp, stack_top\n"
                     "la t0, vectors + 1\n"
                     "csrw mtvec, t0\n"
                     "la t0, begin\n"
                     "jr t0\n"
                     ".option pop\n");
}

__attribute__((interrupt("machine"), used)) static void on_uart(void) { uart_interrupt(); }

__attribute__((interrupt("machine"), used)) static void on_watchdog(void) { watchdog_interrupt(); }

/* An exception that nobody asked for: with a debugger it is seen here. */
__attribute__((used)) static void stop(void) {
    for (;;) {
    }
}

/* Its first entry is that of exceptions, the others of interrupts by their number. */
__attribute__((naked, used, aligned(256))) static void vectors(void) {
    __asm__ volatile(".option push\n"
                     ".option norvc\n"
                     "j stop\n"
                     "j on_uart\n"
                     "j on_watchdog\n"
                     ".rept 29\n"
                     "j stop\n"
                     ".endr\n"
                     ".option pop\n");
}

void cpu_restart(void) {
    rom_reset();
    for (;;) {
    }
}
