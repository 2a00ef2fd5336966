/* Models in a partition of the flash that the processor sees as memory. Zephyr's boards leave the
 * one for the second image of MCUboot free where there is no MCUboot.
 * SPDX-License-Identifier: Apache-2.0 */
#include "keep.h"

#include <zephyr/kernel.h>
#include <zephyr/storage/flash_map.h>
#include <zephyr/sys/reboot.h>

#include "nus.h"
#include "signature.h"

#ifndef ESNN_PARTITION
#define ESNN_PARTITION slot1_partition
#endif

#define RADIO_MS 200 /* until what the stack has taken is sent */

static const struct flash_area *area;

static void end_trial(struct k_timer *timer) {
    ARG_UNUSED(timer);
    sys_reboot(SYS_REBOOT_COLD);
}

K_TIMER_DEFINE(trial, end_trial, NULL);

static const uint8_t *read_flash(uint32_t at) {
    return (const uint8_t *)(CONFIG_FLASH_BASE_ADDRESS + (uintptr_t)area->fa_off) + at;
}

static int program(uint32_t at, const uint8_t *data, size_t n) {
    return flash_area_write(area, (off_t)at, data, n);
}

static int erase(uint32_t at) { return flash_area_erase(area, (off_t)at, CONFIG_ESNN_STORE_PAGE); }

static void watch(uint32_t seconds) {
    k_timer_stop(&trial);
    if (seconds > 0) {
        k_timer_start(&trial, K_SECONDS(seconds), K_NO_WAIT);
    }
}

static void restart(void) {
    nus_drain();
    k_sleep(K_MSEC(RADIO_MS));
    sys_reboot(SYS_REBOOT_COLD);
}

const esnn_store_config *nus_store(void) {
    static esnn_store_config store;
    if (flash_area_open(FIXED_PARTITION_ID(ESNN_PARTITION), &area) != 0) {
        return NULL;
    }
    store = (esnn_store_config){
        .flash = {.size = (uint32_t)area->fa_size,
                  .page = CONFIG_ESNN_STORE_PAGE,
                  .unit = 4,
                  .read = read_flash,
                  .program = program,
                  .erase = erase},
        .key = esnn_public_key,
        .development = esnn_development,
        .check = esnn_signature_check,
        .watch = watch,
        .restart = restart,
    };
    return &store;
}
