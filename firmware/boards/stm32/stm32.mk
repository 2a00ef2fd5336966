# What STM32 chips share: the clock and the watchdog of SysTick, and the drivers of USART
# and flash, whose registers a family describes.
# SPDX-License-Identifier: Apache-2.0
include boards/cortex-m/cortex-m.mk
SHARED += boards/stm32 boards/signal
FLASH_BASE = 0x08000000
RAM_BASE = 0x20000000
FLASH_SIZE = 512K
