/* The clocks of an STM32L476 at 80 MHz, from its own oscillator, and USART2 at PA2 and PA3, which
 * the Nucleo passes on over USB. SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "link.h"
#include "machine.h"
#include "registers.h"
#include "usart.h"

#define RCC 0x40021000u
#define FLASH 0x40022000u
#define PORT_A 0x48000000u

enum { RCC_CONTROL = 0x00, RCC_CLOCKS = 0x08, RCC_PLL = 0x0c, RCC_AHB2 = 0x4c, RCC_APB1 = 0x58 };
enum { FLASH_ACCESS = 0x00 };

#define HSI_ON (1u << 8)
#define HSI_READY (1u << 10)
#define PLL_ON (1u << 24)
#define PLL_READY (1u << 25)
#define PLL_80_OF_16_MHZ (2u | 10u << 8 | 1u << 24) /* of HSI, * 10, / 2, let out */
#define CLOCK_IS_PLL 3u
#define CLOCK_IS_PLL_NOW (3u << 2)
#define FOUR_WAITS_AND_CACHES (4u | 7u << 8)
#define PORT_A_ON 1u
#define USART2_ON (1u << 17)

static void speed_up(void) {
    REGISTER(RCC, RCC_CONTROL) |= HSI_ON;
    wait_for(RCC, RCC_CONTROL, HSI_READY);
    REGISTER(RCC, RCC_PLL) = PLL_80_OF_16_MHZ;
    REGISTER(RCC, RCC_CONTROL) |= PLL_ON;
    wait_for(RCC, RCC_CONTROL, PLL_READY);
    REGISTER(FLASH, FLASH_ACCESS) = FOUR_WAITS_AND_CACHES;
    REGISTER(RCC, RCC_CLOCKS) = CLOCK_IS_PLL;
    wait_for(RCC, RCC_CLOCKS, CLOCK_IS_PLL_NOW);
}

void uart_start(void) {
    speed_up();
    REGISTER(RCC, RCC_AHB2) |= PORT_A_ON;
    REGISTER(RCC, RCC_APB1) |= USART2_ON;
    pin_to_uart(PORT_A, 2);
    pin_to_uart(PORT_A, 3);
    usart_start(CPU_HZ);
}
