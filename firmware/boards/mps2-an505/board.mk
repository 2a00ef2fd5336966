# ARM MPS2 with the AN505 image: Cortex-M33, under QEMU.
# SPDX-License-Identifier: Apache-2.0
CORE = cortex-m33
include boards/cmsdk/cmsdk.mk
FLASH_BASE = 0x10000000
RAM_BASE = 0x38000000
