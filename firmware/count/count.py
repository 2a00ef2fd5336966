"""Count the instructions of the kernels on every core, exactly, under QEMU.

`make count` builds one image for every core whose compiler is installed, runs it under an emulator
with a plugin that counts (plugin.c), writes build/count.json and compares with baseline.json. The
image also runs every fast kernel against its portable C twin, and says CHECK OK or CHECK FAIL.

What is counted: instructions, not cycles. `synop` is a synaptic addition: one weight added because
one input spiked. Layers are 128 -> 128; 10 % of 128 are 13. Blocks are 7 -> 7, with int8 weights.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesnn import blob, reference
from edgesnn.devices import protocol
from edgesnn.devices.packet import Packet, encode
from edgesnn.devices.signing import DEVELOPMENT, make_update
from edgesnn.graph import (
    LIF,
    AnalogInput,
    Dense,
    Graph,
    Int16Array,
    Int32Array,
    Reset,
    SpikeCount,
    SpikeInput,
)
from edgesnn.quantize import quantize
from edgesnn.sources import read_network
from firmware.cores import (
    BUILD,
    COMMON,
    CORE_SOURCES,
    CORES,
    FIRMWARE,
    RISCV,
    STRICT,
    STRING,
    STRING_FLAGS,
    Core,
    ToolError,
    call,
    compile_one,
    compiler_of,
    has_compiler,
    link,
)
from firmware.signature.fetch import fetch

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "baseline.json"

N, FEW, FRAMES = 128, 13, 32
SIGNED_BYTES = 16384
RAM_BYTES = {"m0": 16 << 10}  # of the others: 64 KB
BRAILLE_MODEL = "l2mu_braille7/l2mu_braille7_best.ckpt"
BRAILLE_DATA = "braille7/braille7_spikes.npz"
BRAILLE_SAMPLES = 32
OF_MODEL = ("l2mu_step", "l2mu_step_by_kernels")


MEASURES = (
    "synop_int8", "synop_int4", "synop_int2", "blocks_per_event", "lif_per_neuron",
    "lif_per_neuron_silent", "lif_saturating_per_neuron", "decay_per_neuron",
)  # fmt: skip


@dataclass(frozen=True)
class Marks:
    """What the kernels of a core are held to.

    Args:
        limit: instructions a synop that the instruction set makes necessary, loop left out, by the
            names of `summarize`. The one of 4-bit weights is that of a straightforward loop.
        target: what we want at most, by the same names.
        dense: instructions of CMSIS-NN's dense int8 layer of the same size, 0: not known.
        gain: how many times fewer one step at 10 % activity is to take.
    """

    limit: dict[str, float]
    target: dict[str, float]
    dense: int = 0
    gain: float = 0.0


def _limits(int8: float, int4: float) -> dict[str, float]:
    return {"synop_int8": int8, "synop_int4": int4}


def _targets(int8: float, int4: float, lif: float, **more: float) -> dict[str, float]:
    return {"synop_int8": int8, "synop_int4": int4, "lif_per_neuron": lif, **more}


DSP_LIMITS = _limits(0.75, 0.63)
DSP_TARGETS = _targets(
    0.95, 0.95, 8, lif_saturating_per_neuron=8, blocks_per_event=40, l2mu_step_by_kernels=1.15
)
MARKS = {
    "m0": Marks(
        _limits(1.5, 0.75), _targets(3.1, 2.0, 18, lif_saturating_per_neuron=18), 111445, 13
    ),
    "m3": Marks(
        _limits(1.25, 0.63), _targets(2.1, 1.25, 12.4, lif_saturating_per_neuron=12.4), 60176, 11
    ),
    "m4": Marks(DSP_LIMITS, DSP_TARGETS, 37163, 13),
    "m7": Marks(DSP_LIMITS, DSP_TARGETS, 37196, 13),
    "m33": Marks(DSP_LIMITS, DSP_TARGETS, 37163, 13),
    "m55": Marks({"synop_int8": 0.25}, _targets(0.45, 0.45, 3), 9439, 4.5),
    "rv32": Marks({"synop_int8": 1.5}, {}),
}


def available(core: Core) -> bool:
    """Whether this machine can build for a core and run it."""
    return has_compiler(core) and shutil.which(emulator(core)) is not None


def emulator(core: Core) -> str:
    """The QEMU program that has a core."""
    return "qemu-system-riscv32" if core.cross == RISCV else "qemu-system-arm"


def layers_graph(layers: int) -> Graph:
    """Layers of which 13 neurons spike in every step, and one neuron to read out."""
    rng = np.random.default_rng(0)
    populations, projections = [], []
    names = ["input", *(f"layer {k}" for k in range(layers))]
    threshold = np.full(N, 1 << 28, np.int32)
    spiking = np.arange(FEW) * N // FEW
    threshold[spiking] = 1000
    for source, target in itertools.pairwise(names):
        weights = rng.integers(-128, 127, (N, N), endpoint=True).astype(np.int8)
        weights[spiking] = 127
        populations.append(_lif(target, threshold, Reset.SUBTRACT))
        projections.append(Dense(source, target, weights))
    populations.append(_lif("out", np.array([1000], np.int32), Reset.NONE))
    return Graph(SpikeInput("input", N), tuple(populations), tuple(projections), SpikeCount("out"))


def _lif(name: str, threshold: Int32Array, reset: Reset) -> LIF:
    bias = np.zeros(len(threshold), np.int32)
    return LIF(name, np.array([29491], np.uint16), threshold, bias, reset)


def write_data(folder: Path) -> None:
    """The files that data.S takes in."""
    rng = np.random.default_rng(1)
    (folder / "weights.bin").write_bytes(rng.integers(0, 256, 132 * 300, np.uint8).tobytes())
    ends_of = {
        "extreme_weights": (0x80, 0x7F),
        "extreme_codes4": (0, 0xFF, 0x0F, 0xF0),
        "extreme_codes2": (0, 0xFF, 0x33, 0xCC, 0x3C, 0xC3, 0x0F, 0xF0),
    }
    for file, ends in ends_of.items():
        mixed = rng.choice(np.array(ends, np.uint8), 132 * 30)
        alike = np.repeat(np.array(ends[:2], np.uint8), mixed.size)
        (folder / f"{file}.bin").write_bytes(mixed.tobytes() + alike.tobytes())
    many = np.sort(rng.integers(0, 8, 4200)).astype("<u2")
    (folder / "many_events.bin").write_bytes(many.tobytes())
    for layers in (1, 2):
        image = blob.pack_image(layers_graph(layers))
        (folder / f"layers_{layers}.bin").write_bytes(image)


def build_plugin(folder: Path) -> Path:
    """The plugin, made with the host's compiler."""
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "plugin.so"
    call("gcc", *STRICT, "-O2", "-shared", "-fPIC", "-fvisibility=hidden",
         HERE / "plugin.c", "-o", out)  # fmt: skip
    return out


def build(name: str, folder: Path, flags: Sequence[str] = ()) -> Path:
    """The image of kernels and layers for a core; `flags` for the core's sources."""
    folder.mkdir(parents=True, exist_ok=True)
    write_data(folder)
    sources = {HERE / "main.c": ("-O2",), HERE / "check.c": ("-O2",), HERE / "data.S": ()}
    return link_program(name, folder, "count", sources, 6144, flags)


def build_model(name: str, folder: Path, image: bytes, frames: Int16Array, needed: int = 0) -> Path:
    """The image of a model and the frames (steps, input size) that it is run on.

    `needed` is the bytes of its arena, where that is more than programs have by default.
    """
    write_model(folder, image, frames, b"")
    sources = {HERE / "model.c": ("-O2",), HERE / "model.S": ()}
    return link_program(name, folder, "model", sources, 12288, needed=needed)


def build_frame(name: str, folder: Path) -> Path:
    """The image of the stream app, and a script of packets for it."""
    graph = wrist_graph()
    rng = np.random.default_rng(2)
    frames = rng.integers(-20000, 20000, (FRAMES, graph.input.size)).astype(np.int16)
    graph = reference.with_selftest(graph, frames[:1])
    image = blob.pack_image(graph)
    write_model(folder, image, frames, script(image, frames))
    app = sorted((FIRMWARE / "app").glob("*.c"))
    sources = {**dict.fromkeys((*app, HERE / "frame.c"), ("-O2",)), HERE / "model.S": ()}
    return link_program(name, folder, "frame", sources, 4096)


def build_signature(name: str, folder: Path) -> Path:
    """The image that checks signatures, with Monocypher compiled as firmware has it."""
    folder.mkdir(parents=True, exist_ok=True)
    image = bytes(k % 251 for k in range(SIGNED_BYTES))
    (folder / "model.bin").write_bytes(make_update(image, DEVELOPMENT, 1).data)
    (folder / "frames.bin").write_bytes(make_update(b"", DEVELOPMENT, 1).data)
    (folder / "script.bin").write_bytes(b"")
    core, library, made = CORES[name], fetch(), folder / "monocypher.o"
    call(f"{core.cross}gcc", *core.cpu, *COMMON, "-Os", "-DBLAKE2_NO_UNROLLING",
         f"-I{STRING.parent}", "-c", library / "monocypher.c", "-o", made)  # fmt: skip
    include = (f"-I{FIRMWARE / 'signature'}", f"-I{library}", "-O2")
    signature = FIRMWARE / "signature" / "signature.c"
    sources = {**dict.fromkeys((HERE / "signed.c", signature), include), HERE / "model.S": ()}
    return link_program(name, folder, "signed", sources, 4096, extra=(made,))


def wrist_graph() -> Graph:
    """6 sensor channels, 32 LIF neurons and 7 classes."""
    rng = np.random.default_rng(3)
    sizes = (6, 32, 7)
    layers = [_lif(f"layer {n}", np.full(n, 9000, np.int32), Reset.SUBTRACT) for n in sizes[1:]]
    names = ["input", *(layer.name for layer in layers)]
    projections = [
        Dense(*ends, rng.integers(-128, 127, (n_out, n_in), endpoint=True).astype(np.int8), shift)
        for ends, n_in, n_out, shift in zip(
            itertools.pairwise(names), sizes, sizes[1:], (0, 6), strict=False
        )
    ]
    entry = AnalogInput("input", np.zeros(sizes[0], np.int8))
    return Graph(entry, tuple(layers), tuple(projections), SpikeCount(layers[-1].name))


def script(image: bytes, frames: Int16Array) -> bytes:
    """The packets that put a model on a board and stream frames to it, as frame.c reads them."""
    piece = 32  # with it a packet is whole in one read of the app
    pieces = [
        (protocol.MODEL_DATA, struct.pack("<I", at) + image[at : at + piece])
        for at in range(0, len(image), piece)
    ]
    sent = [
        (protocol.HELLO, protocol.hello(1)),
        (protocol.MODEL_BEGIN, struct.pack("<IB", len(image), 0)),
        *pieces,
        (protocol.MODEL_END, b""),
        *((protocol.FRAME, protocol.STAMP.pack(0) + f.astype("<i2").tobytes()) for f in frames),
    ]
    packets = b""
    for sequence, (kind, payload) in enumerate(sent):
        data = encode(Packet(kind, sequence, payload))
        packets += struct.pack("<H", len(data) | (0x8000 if kind == protocol.FRAME else 0)) + data
    return packets


def write_model(folder: Path, image: bytes, frames: Int16Array, packets: bytes) -> None:
    """The files that model.S takes in."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.bin").write_bytes(image)
    (folder / "frames.bin").write_bytes(frames.astype("<i2").tobytes())
    (folder / "script.bin").write_bytes(packets)


def link_program(
    name: str,
    folder: Path,
    program: str,
    sources: dict[Path, tuple[str, ...]],
    small_arena: int,
    flags: Sequence[str] = (),
    extra: Sequence[Path] = (),
    needed: int = 0,
) -> Path:
    """The core with a program; its arena is half of the RAM, or `small_arena` bytes of 16 KB.

    The RAM is 64 KB, or twice what is `needed`, which every machine but the smallest has.
    """
    core = CORES[name]
    ram = RAM_BYTES.get(name, max(64 << 10, -(-2 * needed // 1024) * 1024))
    arena = ram // 2 if ram > 16384 else small_arena
    sources = {
        **dict.fromkeys(CORE_SOURCES, ("-O2", *flags)),
        STRING: STRING_FLAGS,
        HERE / "start.c": ("-Os",),
        **{source: (*options, *flags) for source, options in sources.items()},
    }
    objects = []
    for source, options in sources.items():
        out = folder / f"{source.stem}{'_data' if source.suffix == '.S' else ''}.o"
        here = (f"-DARENA_SIZE={arena}", f"-I{FIRMWARE / 'app'}", f"-I{HERE}", f"-Wa,-I{folder}")
        objects.append(compile_one(core, source, out, (*here, *options)))
    elf = folder / f"{program}.elf"
    return link(
        core, [*objects, *extra], elf, HERE / "link.ld", CODE=core.code, RAM=core.ram, RAM_SIZE=ram
    )


def emulate(name: str, elf: Path, folder: Path, plugin: str = "") -> str:
    """Run an image in a folder, with a plugin and its options; what it said.

    Raises:
        ToolError: it did not end with CHECK OK.
    """
    core = CORES[name]
    bios = ("-bios", "none") if core.cross == RISCV else ()
    said = call(
        "timeout", "300", emulator(core), "-M", core.machine, *bios, "-nographic",
        "-monitor", "none", "-serial", "null", "-semihosting-config", "enable=on,target=native",
        "-kernel", elf, *(("-plugin", plugin) if plugin else ()), folder=folder,
    )  # fmt: skip
    if "CHECK OK" not in said:
        raise ToolError(f"{name}: no CHECK OK\n{said}")
    return said


def run(name: str, elf: Path, plugin: Path) -> tuple[str, dict[str, list[int]]]:
    """Run an image: the name of its kernels, and the instructions of every region.

    Raises:
        ToolError: a fast kernel differs from its twin, or the run failed.
    """
    core = CORES[name]
    symbols = {}
    for line in call(f"{core.cross}nm", elf).splitlines():
        address, _, symbol = line.split()
        symbols[symbol] = int(address, 16)
    out = elf.with_name("counts")
    options = ",".join(f"{key}=0x{symbols[f'bench_{key}']:x}" for key in ("begin", "end"))
    said = emulate(name, elf, elf.parent, f"file={plugin},{options},out={out}")
    regions = [line.split()[1] for line in said.splitlines() if line.startswith("region ")]
    counts = [int(line) for line in out.read_text().split()]
    if len(regions) != len(counts):
        raise ToolError(f"{name}: {len(regions)} regions, {len(counts)} counts")
    found: dict[str, list[int]] = {}
    for region, count in zip(regions, counts, strict=True):
        found.setdefault(region, []).append(count - counts[0])
    kernels = next(line for line in said.splitlines() if line.startswith("kernels "))
    return kernels.removeprefix("kernels "), found


def text_bytes(name: str, folder: Path) -> dict[str, int]:
    """Bytes of code and constants: the whole core, its kernels, and what of them is portable C."""
    core = CORES[name]
    sizes = {}
    for path in CORE_SOURCES:
        out = call(f"{core.cross}size", folder / f"{path.stem}.o")
        sizes[path.stem] = int(out.splitlines()[1].split()[0])
    kernels = sum(size for stem, size in sizes.items() if stem.startswith("esnn_kernels"))
    return {"core": sum(sizes.values()), "kernels": kernels, "portable": sizes["esnn_kernels"]}


def summarize(
    name: str, folder: Path, kernels: str, regions: dict[str, list[int]]
) -> dict[str, Any]:
    """The figures of a core, from the counts of its regions."""
    one = {region: counts[0] for region, counts in regions.items()}
    return {
        "kernels": kernels,
        "machine": CORES[name].machine,
        "compiler": compiler_of(CORES[name]),
        "flags": " ".join((*CORES[name].cpu, "-O2")),
        "emulator": call(emulator(CORES[name]), "--version").splitlines()[0],
        "synop_int8": round(one["events_128"] / (N * N), 4),
        "synop_int8_13": round(one["events_13"] / (FEW * N), 4),
        "synop_int4": round(one["events4_128"] / (N * N), 4),
        "synop_int4_13": round(one["events4_13"] / (FEW * N), 4),
        "synop_int2": round(one["events2_128"] / (N * N), 4),
        "synop_int2_13": round(one["events2_13"] / (FEW * N), 4),
        "blocks_per_event": round(one["blocks"] / FEW, 4),
        "lif_per_neuron": round(one["lif"] / N, 4),
        "lif_per_neuron_silent": round(one["lif_silent"] / N, 4),
        "lif_saturating_per_neuron": round(one["lif_saturating"] / N, 4),
        "decay_per_neuron": round(one["decay"] / N, 4),
        "layer_kernels_10pct": one["clear"] + one["events_13"] + one["lif"],
        # what one layer more costs in esnn_step, and all of a step of a network of one layer
        "layer_step_10pct": one["two_layers_10pct"] - one["one_layer_10pct"],
        "network_step_10pct": one["one_layer_10pct"],
        "portable_synop_int8": round(one["portable_events_128"] / (N * N), 4),
        "portable_synop_int4": round(one["portable_events4_128"] / (N * N), 4),
        "portable_synop_int2": round(one["portable_events2_128"] / (N * N), 4),
        "portable_lif_per_neuron": round(one["portable_lif"] / N, 4),
        "text_bytes": text_bytes(name, folder),
    }


@dataclass(frozen=True)
class Recorded:
    """A model with frames to count it on.

    Args:
        image: as a board takes it.
        frames: (steps, input size).
        synops: synaptic additions of all the frames.
        neurons: updated in every step.
    """

    image: bytes
    frames: Int16Array
    synops: int
    neurons: int


def recorded(model: blob.Model, frames: Int16Array) -> Recorded:
    """A model and frames (steps, input size), with what the reference says of the work in them."""
    outputs = reference.run(model.graph, frames[np.newaxis])
    neurons = sum(p.size for p in model.graph.populations)
    return Recorded(model.image, frames, int(outputs.synops[0]), neurons)


def braille() -> Recorded | None:
    """The L2MU of its authors and a recording of a Braille letter; None where they are not here.

    They are read from `$EDGESNN_MODELS` and `$EDGESNN_DATA`, or from the folder `shared` beside
    the project.
    """
    shared = BUILD.parent.parent / "shared"
    checkpoint = Path(os.environ.get("EDGESNN_MODELS", shared / "models")) / BRAILLE_MODEL
    data = Path(os.environ.get("EDGESNN_DATA", shared / "data")) / BRAILLE_DATA
    if not (checkpoint.exists() and data.exists()):
        return None
    with np.load(data) as file:
        samples, steps, channels = (int(n) for n in file["shape"])
        packed = file["spikes_packed"][:: samples // BRAILLE_SAMPLES]
    spikes = np.unpackbits(packed, axis=-1)[:, :steps, :channels].astype(np.int16)
    graph = quantize(read_network(checkpoint), spikes).graph
    return recorded(blob.unpack(blob.pack(graph)), spikes[0])


def count_frame(name: str, folder: Path, plugin: Path) -> dict[str, float]:
    """What a frame takes on its way through the stream app, and the step in it alone."""
    regions = run(name, build_frame(name, folder), plugin)[1]
    return {key: round(sum(regions[key]) / FRAMES, 1) for key in ("frame", "frame_step")}


def count_signature(name: str, folder: Path, plugin: Path) -> dict[str, int]:
    """What the check of a signature takes: of an empty model, and for each KB of one."""
    regions = run(name, build_signature(name, folder), plugin)[1]
    empty, full = regions["check_empty"][0], regions["check_16k"][0]
    return {"signature": empty, "signature_per_kb": round((full - empty) * 1024 / SIGNED_BYTES)}


def count(name: str, folder: Path, plugin: Path, model: Recorded | None = None) -> dict[str, Any]:
    """Build the images of a core, run them, and sum up."""
    summary = summarize(name, folder, *run(name, build(name, folder), plugin))
    summary |= count_frame(name, folder, plugin)
    summary |= count_signature(name, folder / "signature", plugin)
    if model is not None:
        elf = build_model(name, folder, model.image, model.frames)
        steps = run(name, elf, plugin)[1]["step"]
        kernels = model.synops * summary["synop_int8"]
        kernels += len(steps) * model.neurons * summary["lif_per_neuron"]
        summary["l2mu_step"] = round(sum(steps) / len(steps), 1)
        summary["l2mu_step_by_kernels"] = round(sum(steps) / kernels, 4)
    return summary


def changes(now: dict[str, Any], baseline: dict[str, Any], tolerance: float = 0.005) -> list[str]:
    """Figures of a core that differ from the baseline by more than the tolerance.

    Counts belong to one compiler: with another, there is nothing to compare.
    """
    found: list[str] = []
    if now["compiler"] != baseline.get("compiler"):
        return found
    for key, was in baseline.items():
        if isinstance(was, (int, float)):
            current = now.get(key)
            if current is None and key in OF_MODEL:
                continue  # counted only where the model is
            if current is None or abs(current - was) > tolerance * was:
                found.append(f"{key}: {was} became {current}")
    return found


def table(cores: dict[str, dict[str, Any]]) -> str:
    """What was counted, each figure beside its target, its limit and how far it is from that."""
    lines = ["core   instructions               counted  target   limit  above  13 events"]
    for name, got in cores.items():
        marks = MARKS[name]
        for key in MEASURES:
            limit = marks.limit.get(key, 0)
            above = f"{got[key] / limit - 1:.0%}" if limit else "-"
            few = f"{got[f'{key}_13']:.3f}" if f"{key}_13" in got else "-"
            lines.append(
                f"{name:6} {key:25} {got[key]:8.3f} {_number(marks.target.get(key), 7)} "
                f"{_number(limit, 7)} {above:>6} {few:>10}"
            )
    lines.append("core   step at 10 %  CMSIS-NN  times fewer  target   text of kernels")
    for name, got in cores.items():
        marks = MARKS[name]
        step = got["layer_step_10pct"]
        gain = f"{marks.dense / step:.1f}" if marks.dense else "-"
        lines.append(
            f"{name:6} {step:12} {_number(marks.dense, 9)} {gain:>12} {_number(marks.gain, 7)} "
            f"{got['text_bytes']['kernels']:17}"
        )
    lines.append("core   frame, from bytes to answer  its step  rest")
    for name, got in cores.items():
        rest = got["frame"] - got["frame_step"]
        lines.append(f"{name:6} {got['frame']:27,.0f} {got['frame_step']:9,.0f} {rest:5,.0f}")
    lines.append("core   check of a signature   each KB of the model more")
    for name, got in cores.items():
        lines.append(f"{name:6} {got['signature']:20,} {got['signature_per_kb']:27,}")
    if any("l2mu_step" in got for got in cores.values()):
        lines.append("core   L2MU step  of the kernels' cost  target")
    for name, got in cores.items():
        if "l2mu_step" in got:
            target = _number(MARKS[name].target.get("l2mu_step_by_kernels"), 7)
            lines.append(
                f"{name:6} {got['l2mu_step']:9,.0f} {got['l2mu_step_by_kernels']:20.3f} {target}"
            )
    for name, got in cores.items():
        lines += [f"{name} misses its target: {miss}" for miss in _misses(MARKS[name], got)]
    return "\n".join(lines)


def _number(value: float | None, width: int) -> str:
    return f"{value:{width}g}" if value else f"{'-':>{width}}"


def _misses(marks: Marks, got: dict[str, Any]) -> list[str]:
    missed = [
        f"{key} is {got[key]:.3f}, not {most:g}"
        for key, most in marks.target.items()
        if got.get(key, 0) > most
    ]
    if marks.gain and marks.dense / got["layer_step_10pct"] < marks.gain:
        missed.append(
            f"a step takes {marks.dense / got['layer_step_10pct']:.1f} times fewer, "
            f"not {marks.gain:g}"
        )
    return missed


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cores", nargs="*", help=f"of {', '.join(CORES)}; all if none is named")
    parser.add_argument(
        "--model", type=Path, help="count the self-test of this .esnn file, not the Braille L2MU"
    )
    parser.add_argument(
        "--accept", action="store_true", help="make what is counted now the baseline"
    )
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.cores) - set(CORES)
    if unknown:
        parser.error(f"no core is called {', '.join(sorted(unknown))}")
    model = braille()
    if chosen.model:
        loaded = blob.load(chosen.model)
        if loaded.graph.selftest is None:
            parser.error(f"{chosen.model} holds no self-test to count: convert it again")
        model = recorded(loaded, loaded.graph.selftest.frames)
    elif model is None:
        print(f"l2mu_step is left out: it needs {BRAILLE_MODEL} and {BRAILLE_DATA}",
              file=sys.stderr)  # fmt: skip
    cores: dict[str, dict[str, Any]] = {}
    try:
        plugin = build_plugin(BUILD / "count")
        for name in chosen.cores or CORES:
            if available(CORES[name]):
                cores[name] = count(name, BUILD / "count" / name, plugin, model)
            else:
                tools = f"{CORES[name].cross}gcc and {emulator(CORES[name])}"
                print(f"{name} is left out: it needs {tools}", file=sys.stderr)
    except ToolError as error:
        print(error, file=sys.stderr)
        return 1
    (BUILD / "count.json").write_text(json.dumps({"cores": cores}, indent=1) + "\n")
    print(table(cores))
    known = json.loads(BASELINE.read_text())["cores"] if BASELINE.exists() else {}
    if chosen.accept:
        if chosen.model:
            parser.error("the baseline is of the Braille model: leave --model away")
        kept = {key: known[key] | got if key in known else got for key, got in cores.items()}
        BASELINE.write_text(json.dumps({"cores": {**known, **kept}}, indent=1) + "\n")
        return 0
    moved = [f"{name} {line}" for name, got in cores.items()
             for line in changes(got, known.get(name, {}))]  # fmt: skip
    for line in moved:
        print(f"not as in baseline.json: {line}", file=sys.stderr)
    return 1 if moved else 0


if __name__ == "__main__":
    sys.exit(main())
