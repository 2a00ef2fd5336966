// Activity by the accelerometer, on a network that runs as native code (edgesnn.bin).
// SPDX-License-Identifier: Apache-2.0
const STATE = 64; // bytes that the code keeps before the arena, at most
const UNITS = { g: 1, "m/s^2": 9.80665, "m/s2": 9.80665, "m/s²": 9.80665 };

const code = E.toString(require("Storage").readArrayBuffer("edgesnn.bin"));
const memory = E.toString(new Uint8Array(MODEL.arena + STATE));
const frame = E.toString(new Uint8Array(2 * MODEL.channels));
const at = [code, memory, frame].map((part) => E.getAddressOf(part, true));
if (at.some((address) => !address)) throw "too little memory in one piece: close other apps";

const entry = (k, signature) => E.nativeCall(at[0] + 4 * k + 1, signature);
const start = entry(0, "int(int,int,int)");
const step = entry(1, "int(int,int)");

const status = start(at[1], MODEL.arena + STATE, at[0]);
if (status) throw "the model does not start: " + status;

function onAccel(a) {
  const values = [a.x, a.y, a.z];
  for (let k = 0; k < MODEL.channels; k++) {
    const unit = UNITS[MODEL.units[k]] || 1;
    const value = Math.round((values[k] || 0) * unit * Math.pow(2, MODEL.fractionBits[k] || 0));
    const clipped = Math.max(-32768, Math.min(32767, value));
    poke16(at[2] + 2 * k, clipped & 0xffff);
  }
  const label = step(at[1], at[2]);
  g.reset().clear().setFont("Vector", 28).setFontAlign(0, 0);
  g.drawString(MODEL.classes[label] || label, g.getWidth() / 2, g.getHeight() / 2);
}

Bangle.setPollInterval(Math.max(10, Math.round(MODEL.stepUs / 1000) || 80));
Bangle.on("accel", onAccel);
Bangle.loadWidgets();
Bangle.drawWidgets();
