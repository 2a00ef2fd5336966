"""What a controller and its evolution cost on a Cortex-M4: instructions, counted under emulation.

Needs the source tree (firmware/count counts) and the cross compiler, as `make count` does.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgesnn import blob
from edgesnn.blimp import task as tasks
from edgesnn.blimp.controllers import ADAPTIVE, DESIGNS, Genome, build
from edgesnn.blimp.course import Ground
from edgesnn.blimp.evolution import Recipe
from edgesnn.blimp.start import integral
from edgesnn.blimp.task import Role
from edgesnn.errors import MissingError

ROOT = Path(__file__).resolve().parent.parent
SMALL = ROOT / "build" / "firmware-64k"
CORE = "m4"


def _count() -> Any:
    path = ROOT / "firmware" / "count" / "count.py"
    if not path.is_file():
        raise MissingError(f"there is no {path}: count in the source tree")
    sys.path.insert(0, str(ROOT))
    spec = importlib.util.spec_from_file_location("edgesnn_count", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def split(full: Genome) -> dict[str, Genome]:
    """The genomes of the two networks of a full controller."""
    size = len(full.values)
    pd = sum(len(p) for name, p in full.named().items() if name.startswith("pd "))
    return {
        "pd": Genome(DESIGNS["pd"], full.values[:pd]),
        "i": Genome(DESIGNS["i"], full.values[pd:size]),
    }


def counted(
    over: Ground, full: Genome, evaluations: int, cycles: float, clock: float
) -> dict[str, Any]:
    """Instructions of control steps along a held-out window and of one evaluation.

    Args:
        over: what is flown over.
        full: the controller.
        evaluations: whose time is to be modelled.
        cycles: an instruction, assumed.
        clock: Hz.

    Raises:
        MissingError: the compiler, the emulator or the source tree is not there.
    """
    count = _count()
    folder = ROOT / "build" / "count" / "blimp"
    plugin = count.build_plugin(folder)
    test = over.tests()[0]
    error = tasks.fly(None, test, over.track, Role.TEST, 0).columns["error"].astype(np.int16)
    found: dict[str, Any] = {}
    networks = split(full)
    for name, genome in {**networks, "full": full, "adaptive i": integral(ADAPTIVE)}.items():
        image = blob.pack_image(build(genome))
        elf = count.build_model(CORE, folder / name, image, error[:, np.newaxis])
        steps = count.run(CORE, elf, plugin)[1]["step"]
        found[name] = {
            "step": {
                "median": float(np.median(steps)), "mean": float(np.mean(steps)),
                "least": min(steps), "most": max(steps),
            },
            "image_bytes": len(image),
        }  # fmt: skip
    task = replace(over.task, windows=(1, 1, 0))
    recipe = Recipe(DESIGNS["pd"], task, generations=1)
    image = blob.pack_image(build(networks["pd"]))
    count.write_model(folder / "evolve", image, np.zeros((0, 1), np.int16), b"")
    (folder / "evolve" / "frames.bin").write_bytes(recipe.pack(over.track))
    app = [ROOT / "firmware" / "app" / f"{part}.c" for part in ("blimp", "evolve")]
    sources = {**dict.fromkeys(app, ("-O2",)), count.HERE / "evaluation.c": ("-O2",),
               count.HERE / "model.S": ()}  # fmt: skip
    elf = count.link_program(CORE, folder / "evolve", "evaluation", sources, 0)
    found["evaluation"] = count.run(CORE, elf, plugin)[1]["evaluation"][0]
    found["ticks"] = task.ticks
    found["minutes"] = evaluations * found["evaluation"] * cycles / clock / 60
    found["ram"] = ram()
    return found


def ram() -> int | None:
    """Bytes of RAM of the small firmware, its stack included; None where it is not built."""
    elf = SMALL / "mps2-an386" / "edgesnn.elf"
    if not elf.is_file():
        return None
    said = subprocess.run(
        ["arm-none-eabi-nm", elf], capture_output=True, text=True, check=True
    ).stdout
    symbols = {name: int(at, 16) for at, _, name in (s.split() for s in said.splitlines())}
    return symbols["bss_end"] - 0x20000000 + symbols["STACK_SIZE"]
