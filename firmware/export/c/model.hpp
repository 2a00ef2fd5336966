// The model for C++, as firmware of watches wants it: no heap, no exceptions.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "esnn.h"
#include "model.h"

namespace edgesnn {

// A network with its state. What it takes of RAM is its size.
class Model {
  public:
    static constexpr size_t channels = MODEL_CHANNELS;

    // Before anything else, and whether it may be used.
    bool Start() {
        return esnn_load(&model, model_image, MODEL_BYTES, arena, sizeof arena) == ESNN_OK;
    }

    // One more frame; the class by now, or a status of esnn.h below 0.
    int Step(const int16_t (&frame)[channels]) {
        const esnn_status status = esnn_step(&model, frame, &result);
        return status == ESNN_OK ? result.label : static_cast<int>(status);
    }

    // An analog value as the channel takes it: a power of two of it, rounded, within int16. `shift`
    // more bits are behind the point of `value` already.
    static int16_t Quantize(size_t channel, int32_t value, int shift) {
        const int left = model_fraction_bits[channel] - shift;
        const int64_t scaled =
            left >= 0 ? static_cast<int64_t>(value) * (int64_t{1} << left)
                      : (static_cast<int64_t>(value) + (int64_t{1} << (-left - 1))) >> -left;
        return static_cast<int16_t>(scaled < -32768 ? -32768 : scaled > 32767 ? 32767 : scaled);
    }

    const char *ClassName(int label) const { return model_classes[label]; }

    void Reset() { esnn_reset(&model); }

  private:
    esnn_model model{};
    esnn_result result{};
    uint32_t arena[MODEL_ARENA_BYTES / 4]{};
};

} // namespace edgesnn
