"""The table of docs/conversions.md, from the golden traces: `python tests/conversions.py`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from test_modules import Trace, differences, traces

from edgesnn.errors import EdgesnnError
from edgesnn.quantize import quantize

PAGE = Path(__file__).resolve().parent.parent / "docs" / "conversions.md"
HEAD = """# What becomes of every neuron

Made by `python tests/conversions.py` from the golden traces of the frameworks, never by hand; a
test fails where it is no longer true. *Float* is how many spikes of the framework's own run the
float network gives otherwise. *Neurons* is the verdict on the integer neurons: exact, or
approximated where decays, thresholds or biases are rounded (decays to 15 bits; the rule itself is
always the framework's). Weights are exact where they lie on the grid of eight bits, and otherwise
approximated, a scale for each target neuron; every conversion reports how far off they are and how
many spikes agree.

lava-dl `.net` is exact in every layer. Sources without traces here (NIR, LMU, DCLS, networks of one
step, L2MU) are held to their equations by their own tests.

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


def page() -> str:
    return HEAD + "\n".join(rows()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
