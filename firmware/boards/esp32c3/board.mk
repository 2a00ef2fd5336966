# Espressif ESP32-C3: RISC-V, RV32IMC. Its ROM maps the flash and starts what begins with its magic
# number ("direct boot"), with no second stage; chips from revision 3 on do so.
# SPDX-License-Identifier: Apache-2.0
CROSS = riscv64-unknown-elf-
CROSS_PACKAGE = gcc-riscv64-unknown-elf
CPU = -march=rv32imc -misa-spec=2.2 -mabi=ilp32 -mcmodel=medany -msmall-data-limit=0
SHARED = boards/riscv boards/signal
LINKER_SCRIPT = boards/esp32c3/link.ld
FLASH_BASE = 0
FLASH_SIZE = 512K
RAM_BASE = 0x3fc80000
# what is behind it the ROM's functions for the flash use
RAM_SIZE = 360K
STACK_SIZE = 8K
