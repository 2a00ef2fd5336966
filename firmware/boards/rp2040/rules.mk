# The second stage of the boot. SPDX-License-Identifier: Apache-2.0
$(OUT)/boot2.elf: boards/rp2040/boot2/boot2.c $(BUILD_FILES)
	@mkdir -p $(@D)
	$(CROSS)gcc $(CFLAGS) -Os -nostdlib -nostartfiles -Wl,-Ttext=0x20041f00 -Wl,-e,boot2 $< -o $@

# its 252 bytes with their checksum, which the processor's own boot looks for
$(OUT)/boot2.bin: $(OUT)/boot2.elf boards/rp2040/boot2/checksum.py
	$(CROSS)objcopy -O binary -j .text $< $@.part
	$(PYTHON) boards/rp2040/boot2/checksum.py $@.part $@

$(OUT)/boot2.o: $(OUT)/boot2.bin
	cd $(OUT) && $(CROSS)objcopy -I binary -O elf32-littlearm -B arm \
	    --rename-section .data=.boot2,alloc,load,readonly,data,contents boot2.bin boot2.o
