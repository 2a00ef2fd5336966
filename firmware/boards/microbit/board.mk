# BBC micro:bit: Nordic nRF51822 with a Cortex-M0, under QEMU.
# SPDX-License-Identifier: Apache-2.0
CORE = cortex-m0
# BOOT=1: behind a serial bootloader, which lies in front of it, and its mark behind
ifdef BOOT
OUT ?= ../build/firmware/microbit-boot
BOOTLOADER = $(OUT)/boot.elf
FLASH_BASE = 0x00002000
FLASH_SIZE = 0x1dc00
else
FLASH_SIZE = 128K
endif
include boards/nrf/nrf.mk
RAM_SIZE = 16K
# the deepest calls of app and core add up to 1.1 KB (-fstack-usage), interrupts included
STACK_SIZE = 1K
