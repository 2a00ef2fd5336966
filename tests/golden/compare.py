"""Compare new golden traces with the committed ones and put the new ones in their place.

`python tests/golden/compare.py NEW_FOLDER...`; exits with 1 where anything differed.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
# made by hand with xylo.py, in an environment that not every machine can have
BY_HAND = {"xylosim-0.1.3.npz"}
INTRODUCTION = """# Golden traces

What frameworks themselves compute, made in environments of their own and compared with
`edgesnn.network`, which needs neither torch nor a framework. `make golden` makes them anew and
reports every difference. The arrays and this list are written by it, never by hand (but for
`xylosim-0.1.3.npz`, which `xylo.py` makes).

`make.py` traces snnTorch's membranes to the last bit (`tests/test_golden.py`); in
`synaptic-called-with-states` the neurons are called as `lif(x, syn, mem)`, for which snnTorch 0.8.0
to 0.9.1 take `mem` for `syn` (mended in 0.9.4), which the test shows. `modules.py` traces the
spikes of every neuron, reset and reset timing of each framework, beside the state_dict and the
description that they are converted from (`tests/test_modules.py`). `others.py` holds the packages
that are no spiking framework: which integers Brevitas rounds weights to (`tests/test_modules.py`),
the int8 that LiteRT's reference kernels, XNNPACK and TensorFlow Lite Micro give, and files that
TensorFlow's own converter quantised (`tests/test_tflite.py`), LMUs with Keras's hidden cells, as
Keras saves them (`tests/test_lmu.py`), and the files that nir itself writes (`tests/test_nir.py`).

"""


def provenance(file: Path) -> str:
    """One line that says what a trace was made with."""
    with np.load(file) as trace:
        made = json.loads(str(trace["provenance"]))
    return "{framework} {version}, torch {torch}, seed {seed}, {script}".format(**made)


def differences(old: Path, new: Path) -> list[str]:
    """Names of the arrays that are not equal, dtype and bits, in two traces."""
    if not old.exists():
        return ["there was none"]
    with np.load(old) as a, np.load(new) as b:
        return [
            name
            for name in sorted({*a.files, *b.files})
            if name not in a.files
            or name not in b.files
            or a[name].dtype != b[name].dtype
            or a[name].shape != b[name].shape
            or a[name].tobytes() != b[name].tobytes()
        ]


def main(folders: list[Path]) -> int:
    new = {path.name: path for folder in folders for path in sorted(folder.glob("*.npz"))}
    stale = {path.name for path in HERE.glob("*.npz")} - set(new) - BY_HAND
    changed = {name: differences(HERE / name, path) for name, path in new.items()}
    lines = []
    for name, path in new.items():
        if changed[name]:
            shutil.copyfile(path, HERE / name)
        print(f"{name}: {', '.join(changed[name]) or 'equal'}")
        lines.append(f"- `{name}`: {provenance(path)}\n")
    lines.sort()
    for name in sorted(stale):
        (HERE / name).unlink()
        print(f"{name}: no longer made")
    (HERE / "README.md").write_text(INTRODUCTION + "".join(lines))
    return int(bool(stale) or any(changed.values()))


if __name__ == "__main__":
    sys.exit(main([Path(folder) for folder in sys.argv[1:]]))
