/* Models in the partition "models" of partitions.csv, which is mapped into memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "keep.h"

#include "esp_partition.h"
#include "esp_system.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "nus.h"
#include "signature.h"

#define PAGE 4096u
#define RADIO_MS 200 /* until what the stack has taken is sent */

static const esp_partition_t *partition;
static const void *mapped;
static esp_timer_handle_t trial;

static const uint8_t *read_flash(uint32_t at) { return (const uint8_t *)mapped + at; }

static int program(uint32_t at, const uint8_t *data, size_t n) {
    return esp_partition_write(partition, at, data, n);
}

static int erase(uint32_t at) { return esp_partition_erase_range(partition, at, PAGE); }

static void end_trial(void *context) {
    (void)context;
    esp_restart();
}

static void watch(uint32_t seconds) {
    (void)esp_timer_stop(trial); /* it may not run */
    if (seconds > 0) {
        (void)esp_timer_start_once(trial, (uint64_t)seconds * 1000000u);
    }
}

static void restart(void) {
    nus_drain();
    vTaskDelay(pdMS_TO_TICKS(RADIO_MS));
    esp_restart();
}

const esnn_store_config *nus_store(void) {
    static esnn_store_config store;
    static esp_partition_mmap_handle_t mapping;
    const esp_timer_create_args_t timer = {.callback = end_trial, .name = "trial"};
    partition =
        esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_ANY, "models");
    if (partition == NULL ||
        esp_partition_mmap(partition, 0, partition->size, ESP_PARTITION_MMAP_DATA, &mapped,
                           &mapping) != ESP_OK ||
        esp_timer_create(&timer, &trial) != ESP_OK) {
        return NULL;
    }
    store = (esnn_store_config){
        .flash = {.size = partition->size,
                  .page = PAGE,
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
