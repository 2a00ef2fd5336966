"""Projects with a model inside: the command `export`.

A project is the files of firmware/export/<format>, the C core, the table of the operations that the
model needs, and the model as C; the formats differ in where these go.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgesnn.devices.commands import PATH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgesnn.blob import Model

FIRMWARE = Path(__file__).resolve().parent.parent / "firmware"
SOURCES: Mapping[str, str] = {
    "c": "edgesnn",
    "arduino": "src",
    "zephyr": "edgesnn",
    "espidf": "main/edgesnn",
    "bangle": "",
}
"""Where the sources of a project are, by its format."""
BANGLE_CPU = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=soft")
BANGLE_FLAGS = (
    *BANGLE_CPU, "-std=c99", "-O2", "-ffreestanding", "-fpie", "-fvisibility=hidden",
    "-ffunction-sections", "-fdata-sections", "-Wall", "-Wextra", "-Werror",
)  # fmt: skip
NUMBERS_A_LINE = 16


@click.command()
@click.argument("model", type=PATH)
@click.option("--format", "form", type=click.Choice(list(SOURCES)), required=True)
@click.option("-o", "--output", type=PATH, required=True, help="A folder that is not there yet.")
def export(model: Path, form: str, output: Path) -> None:
    """Write a project with the model inside, ready for the tools of its world."""
    from edgesnn import blob
    from edgesnn.errors import MissingError

    loaded = blob.load(model)
    if output.exists():
        raise MissingError(f"there is a folder {output} already: choose another name")
    if not (FIRMWARE / "core").is_dir():
        raise MissingError(
            "projects are made from the C sources, which are in the source tree of edgesnn: run "
            "this from there"
        )
    try:
        with tempfile.TemporaryDirectory(dir=output.absolute().parent) as scratch:
            project = Path(scratch) / "project"
            write_project(project, loaded, form)
            project.rename(output)
    except OSError as error:
        raise MissingError(f"cannot write {output}: {error.strerror}") from None
    click.echo(f"wrote {output}")


def write_project(folder: Path, model: Model, form: str) -> None:
    """Write a project into a folder, which is made.

    Raises:
        MissingError: a compiler that it needs is missing.
    """
    if form == "bangle":
        write_bangle(folder, model)
        return
    shutil.copytree(FIRMWARE / "export" / form, folder)
    write_sources(folder / SOURCES[form], model)


def write_sources(folder: Path, model: Model) -> None:
    """Write the core, with the operations of a model alone, and the model as C."""
    from edgesnn import operations

    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((FIRMWARE / "core").glob("*.[ch]")):
        shutil.copy(path, folder)
    (folder / "esnn_operations.c").write_text(operations.table([model.image], ["the model"]))
    (folder / "model.h").write_text(model_header(model))
    (folder / "model.c").write_text(model_source(model))


def model_header(model: Model) -> str:
    """What a program knows of the model at compile time."""
    graph = model.graph
    return f"""/* The model, as edgesnn exported it. */
#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#define MODEL_BYTES {len(model.image)}u
#define MODEL_ARENA_BYTES {model.arena_bytes}u
#define MODEL_CHANNELS {graph.input.size}
#define MODEL_CLASSES {len(model.classes)}
#define MODEL_STEP_US {graph.step_us}u /* from frame to frame; 0: not tied to real time */

#ifdef __cplusplus
extern "C" {{
#endif

/* for esnn_load */
extern const uint8_t model_image[MODEL_BYTES];

/* an analog value x enters a channel as x times 2 to this power, rounded, within int16 */
extern const int8_t model_fraction_bits[MODEL_CHANNELS];

extern const char *const model_classes[MODEL_CLASSES];

#ifdef __cplusplus
}}
#endif
#endif
"""


def model_source(model: Model) -> str:
    """The model as C."""
    names = ", ".join(json.dumps(name) for name in model.classes)
    bits = fraction_bits(model)
    return f"""/* The model, as edgesnn exported it. */
#include "model.h"

#if defined(__GNUC__)
__attribute__((aligned(4))) /* it is run in place */
#endif
const uint8_t model_image[MODEL_BYTES] = {{
{_lines(model.image)}
}};

const int8_t model_fraction_bits[MODEL_CHANNELS] = {{{", ".join(map(str, bits))}}};

const char *const model_classes[MODEL_CLASSES] = {{{names}}};
"""


def fraction_bits(model: Model) -> list[int]:
    """Of each channel; 0 where spikes enter."""
    entry = model.graph.input
    bits: Sequence[Any] = getattr(entry, "fraction_bits", [0] * entry.size)
    return [int(number) for number in bits]


def _lines(data: bytes) -> str:
    rows = (data[at : at + NUMBERS_A_LINE] for at in range(0, len(data), NUMBERS_A_LINE))
    return ",\n".join("    " + ", ".join(str(byte) for byte in row) for row in rows)


def write_bangle(folder: Path, model: Model) -> None:
    """Write an app for the Bangle.js 2: its JavaScript, and core and model as native code.

    Raises:
        MissingError: the compiler for its processor is missing.
    """
    template = FIRMWARE / "export" / "bangle"
    folder.mkdir(parents=True)
    units = list(getattr(model.graph.input, "units", ()))
    known = {
        "arena": model.arena_bytes,
        "channels": model.graph.input.size,
        "classes": list(model.classes),
        "fractionBits": fraction_bits(model),
        "stepUs": model.graph.step_us,
        "units": units,
    }
    script = (template / "app.js").read_text()
    (folder / "app.js").write_text(f"const MODEL = {json.dumps(known)};\n{script}")
    (folder / "edgesnn.bin").write_bytes(bangle_code(model))
    metadata = {
        "id": "edgesnn", "name": "Activity", "version": "0.01", "supports": ["BANGLEJS2"],
        "description": "What you do, by a spiking network.", "type": "app",
        "storage": [
            {"name": "edgesnn.app.js", "url": "app.js"},
            {"name": "edgesnn.bin", "url": "edgesnn.bin"},
        ],
    }  # fmt: skip
    (folder / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")


def bangle_code(model: Model) -> bytes:
    """Core and model as Thumb code that runs at any address that is a multiple of 4.

    Raises:
        MissingError: there is no compiler for it.
    """
    from edgesnn.errors import MissingError

    compiler = "arm-none-eabi-gcc"
    if shutil.which(compiler) is None:
        raise MissingError(f"the code needs {compiler}: install the package gcc-arm-none-eabi")
    template, freestanding = FIRMWARE / "export" / "bangle", FIRMWARE / "boards" / "freestanding"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_sources(folder, model)
        elf, code = folder / "blob.elf", folder / "blob.bin"
        sources = [*sorted(folder.glob("*.c")), template / "blob.c", freestanding / "string.c"]
        subprocess.run(
            [
                compiler, *BANGLE_FLAGS, "-fno-tree-loop-distribute-patterns", f"-I{folder}",
                f"-I{freestanding}", *sources, "-nostdlib", "-pie", "-Wl,--gc-sections",
                "-Wl,--no-dynamic-linker", "-Wl,--build-id=none", "-T", template / "blob.ld",
                "-lgcc", "-o", elf,
            ],
            check=True,
        )  # fmt: skip
        subprocess.run(["arm-none-eabi-objcopy", "-O", "binary", elf, code], check=True)
        return code.read_bytes()
