/* Registers, by base and offset. SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_STM32_REGISTERS_H
#define ESNN_STM32_REGISTERS_H

#include <stdint.h>

#define REGISTER(base, offset) (*(volatile uint32_t *)((base) + (offset)))

/* of a GPIO port */
enum { GPIO_MODE = 0x00, GPIO_FUNCTION_LOW = 0x20, GPIO_FUNCTION_HIGH = 0x24 };

#define FUNCTION_UART 7u

/* Give a pin to the UART. */
static inline void pin_to_uart(uint32_t port, unsigned pin) {
    const uint32_t function = pin < 8 ? GPIO_FUNCTION_LOW : GPIO_FUNCTION_HIGH;
    REGISTER(port, function) |= FUNCTION_UART << (pin % 8u * 4u);
    REGISTER(port, GPIO_MODE) = (REGISTER(port, GPIO_MODE) & ~(3u << 2u * pin)) | 2u << 2u * pin;
}

/* Wait until a bit is set, for at most some milliseconds: QEMU models no clocks, whose bits stay
 * clear there, and runs at the speed that they would have given. */
static inline void wait_for(uint32_t base, uint32_t offset, uint32_t bit) {
    for (uint32_t k = 0; k < 20000u && (REGISTER(base, offset) & bit) == 0; k++) {
    }
}

#endif
