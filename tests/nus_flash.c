/* What is below the flash of Zephyr's and ESP-IDF's adapters, as far as these use it: memory that
 * outlives a restart, and a timer that nothing lets run out. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "standin.h"

#define SIZE (256u * 1024u)
#define PAGE 4096u

static void check(int holds) {
    if (!holds) {
        abort();
    }
}

uint8_t *flash_memory(void) {
    static uint8_t *memory;
    if (memory == NULL) {
        memory = malloc(SIZE);
        check(memory != NULL);
        memset(memory, 0xff, SIZE);
    }
    return memory;
}

static int program(size_t at, const void *data, size_t n) {
    check(at % 4 == 0 && n % 4 == 0 && at <= SIZE && n <= SIZE - at);
    for (size_t k = 0; k < n; k++) {
        flash_memory()[at + k] &= ((const uint8_t *)data)[k];
    }
    return 0;
}

static int erase(size_t at, size_t n) {
    check(at % PAGE == 0 && n == PAGE && at < SIZE);
    memset(flash_memory() + at, 0xff, n);
    return 0;
}

#ifdef ZEPHYR

int flash_area_open(int id, const struct flash_area **area) {
    static const struct flash_area there = {0, SIZE};
    *area = &there;
    return id == 1 ? 0 : -1;
}

int flash_area_write(const struct flash_area *area, off_t at, const void *data, size_t n) {
    (void)area;
    return program((size_t)at, data, n);
}

int flash_area_erase(const struct flash_area *area, off_t at, size_t n) {
    (void)area;
    return erase((size_t)at, n);
}

#else

const esp_partition_t *esp_partition_find_first(int type, int subtype, const char *name) {
    static const esp_partition_t there = {SIZE};
    return type == ESP_PARTITION_TYPE_DATA && subtype == ESP_PARTITION_SUBTYPE_ANY &&
                   strcmp(name, "models") == 0
               ? &there
               : NULL;
}

int esp_partition_mmap(const esp_partition_t *partition, size_t at, size_t n, int kind,
                       const void **out, esp_partition_mmap_handle_t *handle) {
    check(at == 0 && n == partition->size && kind == ESP_PARTITION_MMAP_DATA);
    *out = flash_memory();
    *handle = 1;
    return ESP_OK;
}

int esp_partition_write(const esp_partition_t *partition, size_t at, const void *data, size_t n) {
    (void)partition;
    return program(at, data, n);
}

int esp_partition_erase_range(const esp_partition_t *partition, size_t at, size_t n) {
    (void)partition;
    return erase(at, n);
}

#endif
