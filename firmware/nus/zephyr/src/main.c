/* The stream app on Zephyr, behind its Nordic UART Service.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <zephyr/bluetooth/bluetooth.h>
#include <zephyr/bluetooth/conn.h>
#include <zephyr/bluetooth/gatt.h>
#include <zephyr/bluetooth/services/nus.h>
#include <zephyr/kernel.h>

#include "app.h"
#include "board.h"
#include "keep.h"
#include "nus.h"

#define ATT_HEAD 3u

K_MUTEX_DEFINE(lock);
K_SEM_DEFINE(woken, 0, 1);

static struct bt_conn *central;
static bool subscribed;

void nus_lock(void) { k_mutex_lock(&lock, K_FOREVER); }

void nus_unlock(void) { k_mutex_unlock(&lock); }

void nus_wake(void) { k_sem_give(&woken); }

void nus_sleep(uint32_t milliseconds) {
    k_sem_take(&woken, milliseconds == 0 ? K_FOREVER : K_MSEC(milliseconds));
}

/* to all that have subscribed, which is the one central there can be */
int nus_notify(const uint8_t *data, size_t size) { return bt_nus_send(NULL, data, (uint16_t)size); }

const char *board_name(void) { return CONFIG_BOARD; }

uint32_t board_micros(void) { return (uint32_t)k_ticks_to_us_floor64(k_uptime_ticks()); }

/* firmware with a sensor calls esnn_sensor_put at each of its samples and returns the ring here */
esnn_sensor *board_sensor(void) { return NULL; }

static void tell(void) {
    nus_listens(central != NULL && subscribed ? bt_gatt_get_mtu(central) - ATT_HEAD : 0);
}

static void on_written(struct bt_conn *conn, const void *data, uint16_t size, void *context) {
    ARG_UNUSED(conn);
    ARG_UNUSED(context);
    nus_received(data, size);
}

static void on_subscribed(bool enabled, void *context) {
    ARG_UNUSED(context);
    subscribed = enabled;
    tell();
}

static void on_mtu(struct bt_conn *conn, uint16_t to_central, uint16_t to_board) {
    ARG_UNUSED(conn);
    ARG_UNUSED(to_central);
    ARG_UNUSED(to_board);
    tell();
}

static void advertise(struct k_work *work) {
    static const struct bt_data advertised[] = {
        BT_DATA_BYTES(BT_DATA_FLAGS, (BT_LE_AD_GENERAL | BT_LE_AD_NO_BREDR)),
        BT_DATA(BT_DATA_NAME_COMPLETE, CONFIG_BT_DEVICE_NAME, sizeof(CONFIG_BT_DEVICE_NAME) - 1),
    };
    static const struct bt_data answered[] = {
        BT_DATA_BYTES(BT_DATA_UUID128_ALL, BT_UUID_NUS_SRV_VAL),
    };
    ARG_UNUSED(work);
    bt_le_adv_start(BT_LE_ADV_CONN_FAST_1, advertised, ARRAY_SIZE(advertised), answered,
                    ARRAY_SIZE(answered));
}

K_WORK_DEFINE(advertising, advertise);

static void on_connected(struct bt_conn *conn, uint8_t error) {
    if (error == 0) {
        central = bt_conn_ref(conn);
    }
}

static void on_disconnected(struct bt_conn *conn, uint8_t reason) {
    ARG_UNUSED(reason);
    if (conn == central) {
        central = NULL;
        subscribed = false;
        tell();
        bt_conn_unref(conn);
    }
}

/* only now is there a connection to spare for the next central */
static void on_recycled(void) { k_work_submit(&advertising); }

BT_CONN_CB_DEFINE(connection) = {
    .connected = on_connected,
    .disconnected = on_disconnected,
    .recycled = on_recycled,
};

int main(void) {
    static struct bt_nus_cb service = {.notif_enabled = on_subscribed, .received = on_written};
    static struct bt_gatt_cb gatt = {.att_mtu_updated = on_mtu};
    static uint32_t model[CONFIG_ESNN_MODEL_BYTES / 4], arena[CONFIG_ESNN_ARENA_BYTES / 4];
    static uint32_t packet[CONFIG_ESNN_PACKET_BYTES / 4];
    const esnn_app_memory memory = {
        .model = (uint8_t *)model,
        .model_size = sizeof model,
        .arena = (uint8_t *)arena,
        .arena_size = sizeof arena,
        .packet = (uint8_t *)packet,
        .packet_size = sizeof packet,
        .store = nus_store(),
    };
    int error = bt_nus_cb_register(&service, NULL);
    if (error == 0) {
        error = bt_enable(NULL);
    }
    if (error != 0) {
        return error;
    }
    bt_gatt_cb_register(&gatt);
    advertise(NULL);
    esnn_app_run(&memory);
    return 0;
}
