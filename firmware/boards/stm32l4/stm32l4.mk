# STM32L4 chips: their clocks, USART and flash.
# SPDX-License-Identifier: Apache-2.0
CORE = cortex-m4
include boards/stm32/stm32.mk
SHARED += boards/stm32l4
