# ARM MPS2 with the AN385 image: Cortex-M3, under QEMU.
# SPDX-License-Identifier: Apache-2.0
CORE = cortex-m3
include boards/cmsdk/cmsdk.mk
