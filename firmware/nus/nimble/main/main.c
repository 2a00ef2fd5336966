/* The stream app on ESP-IDF, behind the Nordic UART Service of NimBLE.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "app.h"
#include "board.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "host/ble_hs.h"
#include "host/util/util.h"
#include "keep.h"
#include "nimble/nimble_port.h"
#include "nimble/nimble_port_freertos.h"
#include "nus.h"
#include "nvs_flash.h"
#include "services/gap/ble_svc_gap.h"
#include "services/gatt/ble_svc_gatt.h"

#define NAME "edgesnn"
#define ATT_HEAD 3u
#define MODEL_BYTES (64 * 1024)
#define ARENA_BYTES (16 * 1024)
#define PACKET_BYTES 1024

static const ble_uuid128_t service = BLE_UUID128_INIT(NUS_UUID(NUS_SERVICE));
static const ble_uuid128_t to_board = BLE_UUID128_INIT(NUS_UUID(NUS_TO_BOARD));
static const ble_uuid128_t from_board = BLE_UUID128_INIT(NUS_UUID(NUS_FROM_BOARD));

static SemaphoreHandle_t lock, woken;
static uint16_t notified; /* handle of what notifies */
static uint16_t central = BLE_HS_CONN_HANDLE_NONE;
static bool subscribed;
static uint8_t address_type;

static int on_event(struct ble_gap_event *event, void *context);

void nus_lock(void) { xSemaphoreTake(lock, portMAX_DELAY); }

void nus_unlock(void) { xSemaphoreGive(lock); }

void nus_wake(void) { xSemaphoreGive(woken); }

void nus_sleep(uint32_t milliseconds) {
    const TickType_t ticks = pdMS_TO_TICKS(milliseconds);
    /* a tick may be longer than a short sleep, and 0 ticks would be none */
    xSemaphoreTake(woken, milliseconds == 0 ? portMAX_DELAY : ticks + 1);
}

int nus_notify(const uint8_t *data, size_t size) {
    struct os_mbuf *copy = ble_hs_mbuf_from_flat(data, (uint16_t)size);
    return copy == NULL ? BLE_HS_ENOMEM : ble_gatts_notify_custom(central, notified, copy);
}

const char *board_name(void) { return CONFIG_IDF_TARGET; }

uint32_t board_micros(void) { return (uint32_t)esp_timer_get_time(); }

/* firmware with a sensor calls esnn_sensor_put at each of its samples and returns the ring here */
esnn_sensor *board_sensor(void) { return NULL; }

static void tell(void) { nus_listens(subscribed ? ble_att_mtu(central) - ATT_HEAD : 0); }

static int on_written(uint16_t connection, uint16_t attribute, struct ble_gatt_access_ctxt *access,
                      void *context) {
    (void)connection;
    (void)attribute;
    (void)context;
    if (access->op != BLE_GATT_ACCESS_OP_WRITE_CHR) {
        return BLE_ATT_ERR_READ_NOT_PERMITTED;
    }
    for (const struct os_mbuf *part = access->om; part != NULL; part = SLIST_NEXT(part, om_next)) {
        nus_received(part->om_data, part->om_len);
    }
    return 0;
}

static const struct ble_gatt_svc_def services[] = {
    {
        .type = BLE_GATT_SVC_TYPE_PRIMARY,
        .uuid = &service.u,
        .characteristics =
            (struct ble_gatt_chr_def[]){
                {
                    .uuid = &to_board.u,
                    .access_cb = on_written,
                    .flags = BLE_GATT_CHR_F_WRITE | BLE_GATT_CHR_F_WRITE_NO_RSP,
                },
                {
                    .uuid = &from_board.u,
                    .access_cb = on_written,
                    .flags = BLE_GATT_CHR_F_NOTIFY,
                    .val_handle = &notified,
                },
                {0},
            },
    },
    {0},
};

static void advertise(void) {
    const struct ble_hs_adv_fields advertised = {
        .flags = BLE_HS_ADV_F_DISC_GEN | BLE_HS_ADV_F_BREDR_UNSUP,
        .name = (const uint8_t *)NAME,
        .name_len = sizeof NAME - 1,
        .name_is_complete = 1,
    };
    const struct ble_hs_adv_fields answered = {
        .uuids128 = &service,
        .num_uuids128 = 1,
        .uuids128_is_complete = 1,
    };
    const struct ble_gap_adv_params parameters = {
        .conn_mode = BLE_GAP_CONN_MODE_UND,
        .disc_mode = BLE_GAP_DISC_MODE_GEN,
    };
    ble_gap_adv_set_fields(&advertised);
    ble_gap_adv_rsp_set_fields(&answered);
    ble_gap_adv_start(address_type, NULL, BLE_HS_FOREVER, &parameters, on_event, NULL);
}

static int on_event(struct ble_gap_event *event, void *context) {
    (void)context;
    switch (event->type) {
    case BLE_GAP_EVENT_CONNECT:
        if (event->connect.status != 0) {
            advertise();
        } else {
            central = event->connect.conn_handle;
        }
        break;
    case BLE_GAP_EVENT_DISCONNECT:
        subscribed = false;
        tell();
        central = BLE_HS_CONN_HANDLE_NONE;
        advertise();
        break;
    case BLE_GAP_EVENT_SUBSCRIBE:
        if (event->subscribe.attr_handle == notified) {
            subscribed = event->subscribe.cur_notify;
            tell();
        }
        break;
    case BLE_GAP_EVENT_MTU:
        tell();
        break;
    case BLE_GAP_EVENT_NOTIFY_TX:
        nus_wake();
        break;
    default:
        break;
    }
    return 0;
}

static void on_sync(void) {
    ble_hs_id_infer_auto(0, &address_type);
    advertise();
}

static void host_task(void *context) {
    (void)context;
    nimble_port_run();
    nimble_port_freertos_deinit();
}

void app_main(void) {
    static uint32_t model[MODEL_BYTES / 4], arena[ARENA_BYTES / 4], packet[PACKET_BYTES / 4];
    const esnn_app_memory memory = {
        .model = (uint8_t *)model,
        .model_size = sizeof model,
        .arena = (uint8_t *)arena,
        .arena_size = sizeof arena,
        .packet = (uint8_t *)packet,
        .packet_size = sizeof packet,
        .store = nus_store(),
    };
    lock = xSemaphoreCreateMutex();
    woken = xSemaphoreCreateBinary();
    ESP_ERROR_CHECK(nvs_flash_init());
    ESP_ERROR_CHECK(nimble_port_init());
    ble_hs_cfg.sync_cb = on_sync;
    ble_svc_gap_init();
    ble_svc_gatt_init();
    ESP_ERROR_CHECK(ble_gatts_count_cfg(services));
    ESP_ERROR_CHECK(ble_gatts_add_svcs(services));
    ESP_ERROR_CHECK(ble_svc_gap_device_name_set(NAME));
    nimble_port_freertos_init(host_task);
    esnn_app_run(&memory);
}
