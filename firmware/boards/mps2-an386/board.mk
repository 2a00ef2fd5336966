# ARM MPS2 with the AN386 image: Cortex-M4, under QEMU.
# SPDX-License-Identifier: Apache-2.0
CROSS = arm-none-eabi-
CROSS_PACKAGE = gcc-arm-none-eabi
CPU = -mthumb -mcpu=cortex-m4
BOARD_SOURCES = $(sort $(wildcard boards/mps2-an386/*.c))
LINKER_SCRIPT = boards/mps2-an386/link.ld
QEMU = qemu-system-arm -M mps2-an386
