// A frame of MODEL_CHANNELS int16 over the serial port, and the class by now back.
// SPDX-License-Identifier: Apache-2.0
#include <esnn.h>
#include "model.h"

static uint32_t arena[MODEL_ARENA_BYTES / 4];
static esnn_model model;
static esnn_result result;
static int16_t frame[MODEL_CHANNELS];

void setup() {
    Serial.begin(115200);
    if (esnn_load(&model, model_image, MODEL_BYTES, arena, sizeof arena) != ESNN_OK) {
        Serial.println("the model does not load");
        for (;;) {
        }
    }
}

void loop() {
    if (Serial.readBytes((char *)frame, sizeof frame) == sizeof frame &&
        esnn_step(&model, frame, &result) == ESNN_OK) {
        Serial.println(model_classes[result.label]);
    }
}
