"""Make the packages of the core for each world's tools, all from firmware/core: `make packages`.

A package is what stands in the folder of its name here, the core, and an example, which is that of
`edgesnn export` for the same world with the demo's model. `@VERSION@` stands for the version.
"""

from __future__ import annotations

import re
import shutil
import sys
import zipfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from edgesnn.blob import Model
from edgesnn.devices import export
from firmware.cores import BUILD, CORE_SOURCES, FIRMWARE
from firmware.size.size import committed_model

HERE = Path(__file__).resolve().parent
LICENSE = FIRMWARE.parent / "LICENSE"
CORE = FIRMWARE / "core"
EXAMPLES = {
    "arduino": {"examples/Run/Run.ino": "arduino/examples/Run/Run.ino"},
    "platformio": {"examples/run/src/main.c": "c/main.c"},
    "zephyr": {"examples/run/src/main.c": "zephyr/src/main.c"},
    "espidf": {"examples/run/main/main.c": "espidf/main/main.c"},
    "cmsis": {},
    "cmake": {"examples/run/main.c": "c/main.c"},
    "amalgamation": {"main.c": "c/main.c"},
}
"""Of each package, the files of its example and which of firmware/export they are."""
OWN = (
    # a function or a variable, behind macros that stand for attributes
    re.compile(r"^(?:[A-Z_]+\s+)*static\s[^;{}()=]*?\b(\w+)\s*[(\[=;]", re.MULTILINE),
    re.compile(r"^typedef\s[^;{}()]*?\b(\w+)\s*[(;]", re.MULTILINE),
    re.compile(r"^}\s*(\w+)\s*;", re.MULTILINE),
)
"""What a file of C defines for itself; the first group is the name."""
TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|(?:\.|->)\s*\w+|\w+', re.DOTALL)
"""A comment, a string, a member of a struct, or a name."""
PDSC = "edgesnn.edgesnn.pdsc"
FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # of all files in an archive: the same bytes from the same core


def write_package(folder: Path, form: str, model: Model) -> None:
    """Write one of `EXAMPLES` into a folder, which is made; the model is for its example."""
    template = HERE / form
    if template.is_dir():
        shutil.copytree(template, folder)
    else:
        folder.mkdir(parents=True)
    shutil.copy(LICENSE, folder)
    if form == "amalgamation":
        (folder / "edgesnn.h").write_text(public_header())
        (folder / "edgesnn.c").write_text(amalgamation())
    else:
        (folder / "src").mkdir()
        for path in (*CORE_SOURCES, *sorted(CORE.glob("*.h"))):
            shutil.copy(path, folder / "src")
    for name, source in EXAMPLES[form].items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        text = (FIRMWARE / "export" / source).read_text()
        own = "edgesnn.h" if form == "amalgamation" else "esnn.h"
        place.write_text(text.replace('"esnn.h"', f'"{own}"'))
        place.with_name("model.h").write_text(export.model_header(model))
        place.with_name("model.c").write_text(export.model_source(model))
    if form == "arduino":
        shutil.copy(FIRMWARE / "export" / "arduino" / "keywords.txt", folder)
    _fill_in(folder)


def _fill_in(folder: Path) -> None:
    """Put the version, and the list of files, where a package asks for them."""
    lines = [f'{" " * 8}<file category="sourceC" name="src/{path.name}"/>' for path in CORE_SOURCES]
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name != "src":
            text = path.read_text()
            filled = text.replace("@VERSION@", version("edgesnn"))
            path.write_text(filled.replace("@FILES@", "\n".join(lines)))


def archive(folder: Path, path: Path) -> None:
    """A zip file of what is in a folder, the same bytes whenever it is made."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for member in sorted(member for member in folder.rglob("*") if member.is_file()):
            name = member.relative_to(folder).as_posix()
            file.writestr(
                zipfile.ZipInfo(name, FIRST_DATE), member.read_bytes(), zipfile.ZIP_DEFLATED
            )


def public_header() -> str:
    """What programs include beside the single file."""
    return (CORE / "esnn.h").read_text()


def amalgamation() -> str:
    """The core as one file of C.

    What one file defines for itself alone ends with it: its macros are forgotten, and the other
    names have the file's behind them.
    """
    internal = [path for path in sorted(CORE.glob("*.h")) if path.name != "esnn.h"]
    parts = ["/* The core of edgesnn in one file. SPDX-License-Identifier: Apache-2.0 */",
             '#include "edgesnn.h"']  # fmt: skip
    parts += [_without_own_includes(path.read_text()) for path in internal]
    for path in CORE_SOURCES:
        stem, text = path.stem, path.read_text()
        macros = sorted(set(re.findall(r"^\s*#\s*define\s+(\w+)", text, re.MULTILINE)))
        parts += [f"/* {stem}.c */"]
        parts += [_without_own_includes(with_names_of(stem, text))]
        parts += [f"#undef {name}" for name in macros]
    return "\n".join(parts) + "\n"


def own_names(text: str) -> set[str]:
    """Functions, variables and types that a file of C keeps to itself."""
    plain = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    plain = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", plain, flags=re.DOTALL)
    return {name for pattern in OWN for name in pattern.findall(plain)}


def with_names_of(stem: str, text: str) -> str:
    """A file of C with its own name behind those that it keeps to itself, but those of members."""
    own = own_names(text)

    def renamed(found: re.Match[str]) -> str:
        return f"{found[0]}_of_{stem}" if found[0] in own else found[0]

    return TOKEN.sub(renamed, text)


def _without_own_includes(text: str) -> str:
    return re.sub(r'^#include "[^"]*"\n', "", text, flags=re.MULTILINE)


def write_all(folder: Path, model: Model) -> dict[str, Path]:
    """Every package as a folder and as an archive in another; the archives by their formats."""
    shutil.rmtree(folder, ignore_errors=True)
    archives = {}
    for form in EXAMPLES:
        write_package(folder / form, form, model)
        name = f"edgesnn-{version('edgesnn')}-{form}.zip"
        if form == "cmsis":  # by its rules
            name = f"{Path(PDSC).stem}.{version('edgesnn')}.pack"
            shutil.copy(folder / form / PDSC, folder)
        archives[form] = folder / name
        archive(folder / form, archives[form])
    return archives


def main(arguments: Sequence[str] = ()) -> int:
    """Write all packages into build/packages, or into the folder that is named."""
    folder = Path(arguments[0]) if arguments else BUILD / "packages"
    for form, path in write_all(folder, committed_model()).items():
        print(f"{form:13} {path.stat().st_size:9,}  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
