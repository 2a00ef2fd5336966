# ST STM32F405: Cortex-M4; under QEMU as the Netduino Plus 2 has it.
# SPDX-License-Identifier: Apache-2.0
include boards/stm32f4/stm32f4.mk
QEMU = qemu-system-arm -M netduinoplus2
RAM_SIZE = 128K
STACK_SIZE = 8K
