# Nordic nRF52832: Cortex-M4. The firmware has the chip to itself: no SoftDevice, no bootloader.
# SPDX-License-Identifier: Apache-2.0
CORE = cortex-m4
include boards/nrf/nrf.mk
FLASH_SIZE = 256K
RAM_SIZE = 64K
STACK_SIZE = 8K
