# ARM MPS2 with the AN386 image: Cortex-M4, under QEMU.
# SPDX-License-Identifier: Apache-2.0
CORE = cortex-m4
include boards/cmsdk/cmsdk.mk
