/* The clocks of an STM32F405 at 168 MHz, from its own oscillator, and USART1 at PA9 and PA10.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "link.h"
#include "machine.h"
#include "registers.h"
#include "usart.h"

#define RCC 0x40023800u
#define FLASH 0x40023c00u
#define PORT_A 0x40020000u

enum { RCC_CONTROL = 0x00, RCC_PLL = 0x04, RCC_CLOCKS = 0x08, RCC_AHB1 = 0x30, RCC_APB2 = 0x44 };
enum { FLASH_ACCESS = 0x00 };

#define PLL_ON (1u << 24)
#define PLL_READY (1u << 25)
#define PLL_168_OF_16_MHZ (16u | 336u << 6 | 0u << 16 | 7u << 24) /* / 16, * 336, / 2; / 7 */
#define CLOCK_IS_PLL 2u
#define CLOCK_IS_PLL_NOW (2u << 2)
#define APB1_QUARTER (5u << 10)
#define APB2_HALF (4u << 13)
#define FIVE_WAITS_AND_CACHES (5u | 7u << 8)
#define PORT_A_ON 1u
#define USART1_ON (1u << 4)

static void speed_up(void) {
    REGISTER(FLASH, FLASH_ACCESS) = FIVE_WAITS_AND_CACHES;
    REGISTER(RCC, RCC_PLL) = PLL_168_OF_16_MHZ;
    REGISTER(RCC, RCC_CONTROL) |= PLL_ON;
    wait_for(RCC, RCC_CONTROL, PLL_READY);
    REGISTER(RCC, RCC_CLOCKS) = APB1_QUARTER | APB2_HALF | CLOCK_IS_PLL;
    wait_for(RCC, RCC_CLOCKS, CLOCK_IS_PLL_NOW);
}

void uart_start(void) {
    speed_up();
    REGISTER(RCC, RCC_AHB1) |= PORT_A_ON;
    REGISTER(RCC, RCC_APB2) |= USART1_ON;
    pin_to_uart(PORT_A, 9);
    pin_to_uart(PORT_A, 10);
    usart_start(CPU_HZ / 2u);
}
