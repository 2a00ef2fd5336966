# Nordic nRF52840: Cortex-M4. The firmware has the chip to itself, or is started by a
# bootloader (FLASH_BASE, FLASH_SIZE), whose SoftDevice, if there is one, sleeps.
# SPDX-License-Identifier: Apache-2.0
CORE = cortex-m4
include boards/nrf/nrf.mk
FLASH_SIZE = 512K
RAM_SIZE = 256K
STACK_SIZE = 16K
