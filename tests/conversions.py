"""The tables of docs/conversions.md, from what the tests convert: `python tests/conversions.py`."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import test_delays_and_steps
import test_lava
import test_lmu
import test_lmuformer
import test_modules
import test_nir
import test_sources
import test_tflite
import test_widths
import tflite_files
from checkpoints import l2mu_state, write_torch
from test_modules import FOLDER, Trace, differences, traces
from tflite_files import Op, Tensor, built

from edgesnn.balance import measured, spiking
from edgesnn.converters import tflite
from edgesnn.converters.l2mu import read_l2mu
from edgesnn.converters.lava import REFUSED, read_lava
from edgesnn.converters.lmu import read_lmu
from edgesnn.converters.nir import PROFILES
from edgesnn.converters.srnn import read_srnn
from edgesnn.errors import EdgesnnError
from edgesnn.network import Conversion, InputKind, LayerReport, Network
from edgesnn.quantize import quantize
from edgesnn.sources import Options
from edgesnn.widths import with_bits

PAGE = Path(__file__).resolve().parent.parent / "docs" / "conversions.md"
HEAD = """# What becomes of every neuron

Made by `python tests/conversions.py`, never by hand; a test fails where it is no longer true.

## Against the frameworks

From their golden traces. *Float* is how many spikes of the framework's own run the
float network gives otherwise. *Neurons* is the verdict on the integer neurons: exact, or
approximated where decays, thresholds or biases are rounded (decays to 15 bits; the rule itself is
always the framework's). Weights are exact where they lie on the grid of eight bits, and otherwise
approximated, a scale for each target neuron; every conversion reports how far off they are and how
many spikes agree.

| framework | neurons, reset | float | neurons |
|---|---|---|---|
"""


def row(name: str, trace: Trace, folder: Path) -> str:
    file, case = name.split("/", 1)
    framework = " ".join(file.rsplit("-", 1))
    try:
        network = trace.network(folder)
    except EdgesnnError:
        return f"| {framework} | {case} | | refused |"
    different = sum(differences(network, trace).values())
    report = quantize(network, trace.signal).report
    verdicts = {x.verdict.value for x in report.layers if "neurons" in x.what}
    verdict = "approximated" if "approximated" in verdicts else "exact"
    return f"| {framework} | {case} | {different} | {verdict} |"


def rows() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        for name, trace in traces().items():
            yield row(name, trace, Path(folder))


# ---- every other source ----

SOURCES = """
## Of every other source

What a small file of each kind becomes, those that lava-dl's, nir's, Keras's, Brevitas's and
TensorFlow Lite's own software wrote among them. *Synapses*: the weights or operations; *neurons*:
their parameters; the share is the worst rounding of one. The rule itself is always kept, or the
file is refused, by a sentence that names what cannot be kept.

| source | feature | synapses | neurons |
|---|---|---|---|
"""
Made = Network | Conversion
Case = tuple[str, str, Callable[[Path], Made]]


def cases() -> Iterator[Case]:
    """Source, feature, and how a small file of it is read."""
    for kind, read in lava_files().items():
        yield "lava-dl `.net`", kind, read
    for version in ("0.2.0", "1.0.8"):
        with np.load(FOLDER / f"nir-{version}.npz") as arrays:
            for name in sorted(set(arrays.files) - {"provenance"}):
                content = arrays[name].tobytes()
                own = sorted(PROFILES) if (version, name) == ("1.0.8", "CubaLIF") else []
                for profile in own or ["snntorch"]:
                    feature = f"{name} as `{profile}`" if own else name
                    reader = partial(nir_file, content=content, profile=profile)
                    yield f"nir {version}", feature, reader
    yield "nir", "a type that is not known", unknown_node
    for cell in ("simple-rnn-tanh", "simple-rnn-relu", "dense-tanh", "dense-relu", "none"):
        yield "Keras LMU", cell, partial(keras_lmu, cell=cell)
    yield "Keras LMU", "lstm", lstm
    for blocks in (1, 2):
        yield "Spiking LMUFormer", f"{blocks} block(s)", partial(former, blocks=blocks)
    attention = {"module.block.0.attn.q_conv.weight": np.ones(2)}
    yield "Spiking LMUFormer", "attention", partial(former, blocks=1, more=attention)
    for cuba in (False, True):
        for hidden in ((), (5,)):
            feature = ("CuBa-LIF" if cuba else "LIF") + (", encoding layers" if hidden else "")
            yield "L2MU", feature, partial(l2mu, cuba=cuba, encoder=hidden)
    for taps in (1, 2):
        yield "DCLS", f"{taps} tap(s)", partial(dcls, taps=taps)
    for steps in (1, 3):
        yield "IIR-SNN", f"{steps} step(s)", partial(onestep, steps=steps)
    for kind in ("ALIF", "LIF"):
        yield "adaptive networks (srnn)", kind, partial(stack, kind=kind)
    for case in test_modules.QUANTISED:
        yield "Brevitas", case, partial(test_modules.brevitas_network, case)
    for name in (*test_tflite.NAMES, *test_tflite.CONVERTED):
        content = test_tflite.golden_file(name)
        for kernels in tflite.PROFILES:
            reader = partial(test_tflite.read, content=content, profile=kernels)
            yield "TensorFlow Lite int8", f"`{name}` as `{kernels}`", reader
    for kind in ("RELU", "QUANTIZE", "MAX_POOL_2D", "ADD"):
        yield "TensorFlow Lite int8", kind, partial(pointwise, kind=kind)
    floats = tflite_files.floating(0)
    yield "TensorFlow Lite float", "ReLU as it is", partial(test_tflite.read, content=floats)
    yield "ReLU of PyTorch", "as it is", test_tflite.relu_network
    yield "ReLU of PyTorch", "`--spikes 32`", spiking_relu
    for bits in (16, 8, 4, 2):
        yield "any", f"`--bits {bits}`", partial(widths, bits=bits)


def lava_files() -> dict[str, Callable[[Path], Made]]:
    write, dense, cuba = test_lava.write, test_lava.dense, test_lava.CUBA

    def read(folder: Path, layer: dict[str, Any], *more: dict[str, Any]) -> Made:
        return read_lava(write(folder / "n.net", layer, *more), Options())

    neurons = {"CUBA": cuba, "LOIHI": {**cuba, "type": "LOIHI"}, "ALIF": test_lava.ALIF}
    layers = {name: dense([[2, 4]], neuron) for name, neuron in neurons.items()}
    layers["CUBA, axonal delay"] = dense([[2]], delay=np.array([3.0]))
    layers["CUBA, recurrent"] = {**dense([[2]]), "type": "dense_rec", "weight_rec": np.ones((1, 1))}
    layers["CUBA, graded spikes"] = dense([[2]], {**cuba, "gradedSpike": True})
    layers |= {kind: dense([[2]], {**cuba, "type": kind}) for kind in sorted(REFUSED)}
    layers |= {kind: {"type": kind} for kind in ("concat", "convT")}
    readers = {name: partial(read, layer=layer) for name, layer in layers.items()}
    sigma = test_lava.SIGMA_DELTA
    return {"SDNN": lambda folder: read(folder, *sigma), **readers}


def nir_file(folder: Path, content: bytes, profile: str) -> Made:
    path = folder / "graph.nir"
    path.write_bytes(content)
    return test_nir.read(path, profile)


def unknown_node(folder: Path) -> Made:
    nodes = test_nir.affine(test_nir.WEIGHT), {"type": "Warp"}
    return test_nir.read(test_nir.chain(folder / "n.nir", *nodes, size=4, out=5))


def keras_lmu(folder: Path, cell: str) -> Made:
    return read_lmu(test_lmu.keras(folder / "m.keras", cell)[0], Options())


def lstm(folder: Path) -> Made:
    form = {**test_lmu.FORMS[0][1], "use_bias": False}
    config = json.loads(json.dumps(test_lmu.config("rnn", **form)))
    config["config"]["layers"][1]["config"]["hidden_cell"]["class_name"] = "LSTMCell"
    path = test_lmu.write_keras(folder / "m.keras", config, test_lmu.weights(**form))
    return read_lmu(path, Options())


def former(folder: Path, blocks: int, more: dict[str, Any] | None = None) -> Made:
    state = test_lmuformer.former(1, blocks)
    state.update(more or {})
    return test_lmuformer.network(folder, state)


def l2mu(folder: Path, cuba: bool, encoder: tuple[int, ...]) -> Made:
    return read_l2mu(write_torch(folder / "l2mu.ckpt", l2mu_state(cuba=cuba, encoder=encoder)))


def dcls(folder: Path, taps: int) -> Made:
    return test_delays_and_steps.dcls(folder, test_delays_and_steps.dcls_state(taps))


def onestep(folder: Path, steps: int) -> Made:
    return test_delays_and_steps.onestep(folder, steps)[0]


def stack(folder: Path, kind: str) -> Made:
    path = folder / "srnn.pth"
    described: dict[str, Any] = {"type": kind, "tau_m": "tau_m", "tau_adp": "tau_adp"}
    test_sources.stack({**described, "type": "ALIF"})(path)
    layers = [
        {"type": "Linear", "key": "fc1"}, {**described, "key": "lif1"},
        {"type": "Linear", "key": "fc2"}, {**described, "key": "lif2"},
    ]  # fmt: skip
    return read_srnn(path, Options(description={"input": 3, "layers": layers}))


def pointwise(folder: Path, kind: str) -> Made:
    x, y = (Tensor((1, 2, 2, 3), np.int8, scale, 0) for scale in (0.05, 0.07))
    return test_tflite.read(folder, built([x, y], [Op(kind, [0], 1)]))


def spiking_relu(folder: Path) -> Made:
    frames = np.random.default_rng(1).uniform(0, 1, (100, 1, 8))
    balanced = spiking(test_tflite.relu_network(folder), frames, 32)
    return measured(quantize(balanced.network, balanced.signal), balanced)


def widths(folder: Path, bits: int) -> Made:
    return with_bits(test_widths.two_layers(np.random.default_rng(0)), {"": bits})


def summary(verdicts: list[LayerReport]) -> str:
    """Exact, or the worst approximation."""
    worst = max((x.error for x in verdicts), default=None)
    if worst is None:
        return ""
    share = f"{100 * worst:.0f}" if worst >= 0.01 else f"{100 * worst:.1g}"
    return "exact" if worst == 0 else f"approximated, {share} %"


def source_row(source: str, feature: str, read: Callable[[Path], Made], folder: Path) -> str:
    try:
        made = read(folder)
        if isinstance(made, Network):
            made = quantize(made, frames_for(made))
    except EdgesnnError as error:
        why = str(error).replace(f"{folder}/", "").replace("|", "\\|")
        return f"| {source} | {feature} | refused | {why} |"
    of_neurons = [x for x in made.report.layers if re.match(r"\d+ ", x.what)]
    others = [x for x in made.report.layers if x not in of_neurons]
    return f"| {source} | {feature} | {summary(others)} | {summary(of_neurons)} |"


def frames_for(network: Network) -> np.ndarray:
    rng, shape = np.random.default_rng(0), (3, 20, network.input_size)
    if network.input_kind is InputKind.ANALOG:
        return rng.normal(0, 1, shape).astype(np.float32)
    return (rng.random(shape) < 0.4).astype(np.float32)


def source_rows() -> Iterator[str]:
    for source, feature, read in cases():
        with tempfile.TemporaryDirectory() as folder:
            yield source_row(source, feature, read, Path(folder))


def page() -> str:
    return HEAD + "\n".join(rows()) + "\n" + SOURCES + "\n".join(source_rows()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
