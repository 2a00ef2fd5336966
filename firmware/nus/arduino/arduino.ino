// The stream app behind the Nordic UART Service of ArduinoBLE.
// SPDX-License-Identifier: Apache-2.0
#include <ArduinoBLE.h>

extern "C" {
#include "app.h"
#include "board.h"
#include "nus.h"
}

// ArduinoBLE does not tell what the two sides agreed on, and cuts what is longer: every link takes
// this much
static const int NOTIFICATION = 20;
static const int LONGEST_WRITE = 244;

static BLEService service("6e400001-b5a3-f393-e0a9-e50e24dcca9e");
static BLECharacteristic toBoard("6e400002-b5a3-f393-e0a9-e50e24dcca9e",
                                 BLEWrite | BLEWriteWithoutResponse, LONGEST_WRITE);
static BLECharacteristic fromBoard("6e400003-b5a3-f393-e0a9-e50e24dcca9e", BLENotify, NOTIFICATION);

static uint32_t model[16 * 1024 / 4], arena[8 * 1024 / 4], packet[512 / 4];
static bool woken;

extern "C" {

// there is one task: nothing to keep apart
void nus_lock(void) {}
void nus_unlock(void) {}

void nus_wake(void) { woken = true; }

void nus_sleep(uint32_t milliseconds) {
    const uint32_t start = millis();
    do {
        BLE.poll();
    } while (!woken && (milliseconds == 0 || millis() - start < milliseconds));
    woken = false;
}

int nus_notify(const uint8_t *data, size_t size) {
    return fromBoard.writeValue(data, (int)size) ? 0 : 1;
}

const char *board_name(void) { return "arduino"; }

uint32_t board_micros(void) { return micros(); }

// a sketch with a sensor calls esnn_sensor_put at each of its samples, and returns its ring here
esnn_sensor *board_sensor(void) { return NULL; }
}

static void onWritten(BLEDevice, BLECharacteristic) {
    nus_received(toBoard.value(), toBoard.valueLength());
}

static void onSubscribed(BLEDevice, BLECharacteristic) { nus_listens(NOTIFICATION); }

static void onGone(BLEDevice, BLECharacteristic) { nus_listens(0); }

static void onDisconnected(BLEDevice) { nus_listens(0); }

void setup() {
    while (!BLE.begin()) {
        delay(1000);
    }
    BLE.setLocalName("edgesnn");
    BLE.setAdvertisedService(service);
    service.addCharacteristic(toBoard);
    service.addCharacteristic(fromBoard);
    BLE.addService(service);
    toBoard.setEventHandler(BLEWritten, onWritten);
    fromBoard.setEventHandler(BLESubscribed, onSubscribed);
    fromBoard.setEventHandler(BLEUnsubscribed, onGone);
    BLE.setEventHandler(BLEDisconnected, onDisconnected);
    BLE.advertise();
}

void loop() {
    const esnn_app_memory memory = {
        (uint8_t *)model, sizeof model,  (uint8_t *)arena,
        sizeof arena,     (uint8_t *)packet, sizeof packet,
    };
    esnn_app_run(&memory);
}
