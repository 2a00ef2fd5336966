"""Packages of the core: each is what its world takes, its example gives the reference's bits."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import kconfiglib
import pytest
import yaml
from native import STRICT, call, tool
from platformio.package.manifest.parser import ManifestParserFactory
from platformio.package.manifest.schema import ManifestSchema
from pyocd.target.pack.cmsis_pack import CmsisPack
from test_export import LINUX, answers, run_sketch

from edgesnn import reference
from edgesnn.blob import Model
from edgesnn.devices.recordings import basic_motions
from edgesnn.graph import Int16Array
from edgesnn.reference import Outputs
from firmware.cores import CORE_SOURCES, CORES, FIRMWARE, compile_one
from firmware.packages import packages
from firmware.size.size import committed_model

BIN = Path(sys.executable).parent
GOLDEN = "edgesnn: the model runs\n"


@pytest.fixture(scope="module")
def model() -> Model:
    return committed_model()


@pytest.fixture(scope="module")
def made(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All packages, as folders and as archives."""
    folder = tmp_path_factory.mktemp("made") / "packages"
    packages.write_all(folder, model)
    return folder


@pytest.fixture(scope="module")
def frames(model: Model) -> Int16Array:
    """A recording of the demo's."""
    entry: Any = model.graph.input
    quantized: Int16Array = entry.quantize(basic_motions("test").signal[:1])
    return quantized


@pytest.fixture(scope="module")
def expected(model: Model, frames: Int16Array) -> Outputs:
    return reference.run(model.graph, frames)


def agrees(line: list[str | Path], model: Model, frames: Int16Array, expected: Outputs) -> None:
    """The program of firmware/export/c/main.c says what the reference says of each frame."""
    said = answers(line, frames)
    assert [int(digest, 16) for _, digest in said] == expected.digests[0].tolist()
    assert [name for name, _ in said] == [model.classes[k] for k in expected.step_labels[0]]


@pytest.mark.parametrize("form", [form for form in packages.EXAMPLES if form != "amalgamation"])
def test_a_package_holds_the_core_as_it_is(made: Path, form: str) -> None:
    for source in (*CORE_SOURCES, *(FIRMWARE / "core").glob("*.h")):
        assert (made / form / "src" / source.name).read_bytes() == source.read_bytes()
    for path in (made / form).rglob("*"):
        assert path.is_dir() or "@VERSION@" not in path.read_text()


def test_archives_hold_the_same_files_and_are_made_the_same_again(
    made: Path, model: Model, tmp_path: Path
) -> None:
    again = packages.write_all(tmp_path / "packages", model)
    assert set(again) == set(packages.EXAMPLES)
    for form, path in again.items():
        assert path.read_bytes() == (made / path.name).read_bytes()
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
        files = {path for path in (made / form).rglob("*") if path.is_file()}
        assert names == {path.relative_to(made / form).as_posix() for path in files}


@pytest.mark.parametrize(("compiler", "runner"), [*LINUX[:2], ("clang", ())])
def test_the_single_file_gives_the_references_bits(
    made: Path, model: Model, frames: Int16Array, expected: Outputs, tmp_path: Path,
    compiler: str, runner: tuple[str, ...],
) -> None:  # fmt: skip
    """Beside nothing but its header, under strict warnings, here and on Arm Linux emulated."""
    folder = made / "amalgamation"
    program = tmp_path / "run"
    call([tool(compiler), *STRICT, "-O2", *sorted(folder.glob("*.c")), "-o", program])
    agrees([*runner, program], model, frames, expected)


@pytest.mark.board
@pytest.mark.parametrize("name", ["m0", "m4", "m55", "rv32"])  # of each kind of kernels one
def test_the_single_file_compiles_for_microcontrollers(
    made: Path, tmp_path: Path, name: str
) -> None:
    tool(f"{CORES[name].cross}gcc")
    compile_one(CORES[name], made / "amalgamation" / "edgesnn.c", tmp_path / "edgesnn.o", ("-O2",))


def test_names_are_told_apart_in_code_alone() -> None:
    text = (
        "/* step and add */\nstatic int add(int step) { return step; }\n"
        'static int step(model *m) { return m->step + m.add + add(1); } /* add */\n"a \\"add"\n'
    )
    assert packages.own_names(text) == {"add", "step"}
    assert packages.with_names_of("x", text) == (
        "/* step and add */\nstatic int add_of_x(int step_of_x) { return step_of_x; }\n"
        "static int step_of_x(model *m) { return m->step + m.add + add_of_x(1); } /* add */\n"
        '"a \\"add"\n'
    )


def cmake(source: Path, build: Path, *more: str) -> None:
    call([BIN / "cmake", "-S", source, "-B", build, *more])
    call([BIN / "cmake", "--build", build])


def test_cmake_finds_the_package_and_builds_with_it(
    made: Path, model: Model, frames: Int16Array, expected: Outputs, tmp_path: Path
) -> None:
    prefix, example = tmp_path / "prefix", made / "cmake" / "examples" / "run"
    flags = ("-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror")
    cmake(made / "cmake", tmp_path / "library", *flags)
    call([BIN / "cmake", "--install", tmp_path / "library", "--prefix", prefix])
    cmake(example, tmp_path / "run", f"-DCMAKE_PREFIX_PATH={prefix}")
    agrees([tmp_path / "run" / "run"], model, frames, expected)
    newer = shutil.copytree(example, tmp_path / "newer")
    text = (newer / "CMakeLists.txt").read_text()
    (newer / "CMakeLists.txt").write_text(text.replace(version("edgesnn"), "0.99.0"))
    line = [BIN / "cmake", "-S", newer, "-B", tmp_path / "other", f"-DCMAKE_PREFIX_PATH={prefix}"]
    refused = subprocess.run(line, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "compatible with requested" in refused.stderr


# What Zephyr's and ESP-IDF's own CMake functions do with the files, so far as these ask for it.
ZEPHYR = """
add_executable(app ${CMAKE_CURRENT_LIST_DIR}/empty.c)
target_include_directories(app PRIVATE ${CMAKE_CURRENT_LIST_DIR}/include)
macro(zephyr_include_directories)
  include_directories(${ARGV})
  target_include_directories(app PRIVATE ${CMAKE_CURRENT_LIST_DIR}/${ARGV0})
endmacro()
macro(zephyr_library)
  add_library(module STATIC)
  target_link_libraries(app PRIVATE module)
endmacro()
macro(zephyr_library_compile_options)
  target_compile_options(module PRIVATE ${ARGV})
endmacro()
macro(zephyr_library_sources)
  target_sources(module PRIVATE ${ARGV})
endmacro()
file(STRINGS prj.conf lines REGEX "^CONFIG_.*=y")
foreach(line ${lines})
  string(REGEX REPLACE "=y$" "" name ${line})
  set(${name} y)
endforeach()
enable_language(C)
foreach(module ${EXTRA_ZEPHYR_MODULES})
  file(STRINGS ${module}/zephyr/module.yml place REGEX "cmake: ")
  string(REGEX REPLACE ".*cmake: " "" place ${place})
  add_subdirectory(${module}/${place} module)
endforeach()
"""
ESPIDF = """
macro(idf_component_register)
  cmake_parse_arguments(GIVEN "" "" "SRCS;INCLUDE_DIRS" ${ARGN})
  get_filename_component(COMPONENT_LIB ${CMAKE_CURRENT_LIST_DIR} NAME)
  add_library(${COMPONENT_LIB} STATIC ${GIVEN_SRCS})
  target_include_directories(${COMPONENT_LIB} PUBLIC ${GIVEN_INCLUDE_DIRS})
endmacro()
macro(project name)
  _project(${name} C)
  file(STRINGS main/idf_component.yml place REGEX "override_path: ")
  string(REGEX REPLACE ".*override_path: " "" place ${place})
  add_subdirectory(main)
  add_subdirectory(main/${place} component)
  target_link_libraries(main espidf)
  add_executable(app $ENV{IDF_PATH}/app.c)
  target_link_libraries(app main)
endmacro()
"""


def test_the_zephyr_module_lists_what_it_needs(made: Path, tmp_path: Path) -> None:
    """With stand-ins for Zephyr's functions; its Kconfig by the language's own parser."""
    stand_in = tmp_path / "zephyr"
    (stand_in / "include" / "zephyr" / "sys").mkdir(parents=True)
    (stand_in / "include" / "zephyr" / "sys" / "printk.h").write_text(
        "#include <stdio.h>\n#define printk printf\n"
    )
    (stand_in / "empty.c").write_text("typedef int nothing;\n")
    (stand_in / "ZephyrConfig.cmake").write_text(f"enable_language(C)\n{ZEPHYR}")
    example = made / "zephyr" / "examples" / "run"
    cmake(example, tmp_path / "build", f"-DZephyr_DIR={stand_in}")
    assert call([tmp_path / "build" / "app"]).decode() == GOLDEN
    module = yaml.safe_load((made / "zephyr" / "zephyr" / "module.yml").read_text())
    assert module == {"name": "edgesnn", "build": {"cmake": ".", "kconfig": "Kconfig"}}
    options = kconfiglib.Kconfig(str(made / "zephyr" / module["build"]["kconfig"])).syms
    assert options["EDGESNN"].type == kconfiglib.BOOL
    assert "CONFIG_EDGESNN=y" in (example / "prj.conf").read_text().splitlines()


def test_the_espidf_component_lists_what_it_needs(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stand-ins for ESP-IDF's functions; its manifests by the component manager's schema."""
    stand_in = tmp_path / "idf"
    (stand_in / "tools" / "cmake").mkdir(parents=True)
    (stand_in / "tools" / "cmake" / "project.cmake").write_text(ESPIDF)
    (stand_in / "app.c").write_text(
        "void app_main(void);\nint main(void) {\n    app_main();\n    return 0;\n}\n"
    )
    monkeypatch.setenv("IDF_PATH", str(stand_in))
    cmake(made / "espidf" / "examples" / "run", tmp_path / "build")
    assert call([tmp_path / "build" / "app"]).decode() == GOLDEN
    call([BIN / "compote", "manifest", "lint", made / "espidf"])
    manifest = yaml.safe_load((made / "espidf" / "idf_component.yml").read_text())
    assert manifest["version"] == version("edgesnn")
    broken = shutil.copytree(made / "espidf", tmp_path / "broken")
    (broken / "idf_component.yml").write_text("version: one\n")
    done = subprocess.run([BIN / "compote", "manifest", "lint", broken], capture_output=True)
    assert done.returncode != 0


def test_platformio_takes_the_library(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own schema, without the list of licenses, which it would fetch."""
    licenses = {"licenses": [{"licenseId": "Apache-2.0"}]}
    monkeypatch.setattr(ManifestSchema, "load_spdx_licenses", staticmethod(lambda: licenses))
    path = made / "platformio" / "library.json"
    raw = ManifestParserFactory.new_from_file(str(path)).as_dict()
    manifest = ManifestSchema().load_manifest(raw)
    assert (manifest["name"], manifest["version"]) == ("edgesnn", version("edgesnn"))
    for example in json.loads(path.read_text())["examples"]:
        for name in example["files"]:
            assert (made / "platformio" / example["base"] / name).is_file()
    for header in manifest["headers"]:
        assert (made / "platformio" / "src" / header).is_file()


def test_the_cmsis_pack_is_read_and_lists_its_files(made: Path) -> None:
    """By pyOCD's reader; that each file is there, and each source listed, by hand."""
    path = made / f"edgesnn.edgesnn.{version('edgesnn')}.pack"
    assert CmsisPack(path).pdsc.pack_name == "edgesnn"
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        package = ElementTree.fromstring(archive.read(packages.PDSC))
    assert {child.tag for child in package} >= {
        "vendor", "name", "description", "url", "license", "releases", "components",
    }  # fmt: skip
    assert package.findtext("license") in names
    assert [release.get("version") for release in package.iter("release")] == [version("edgesnn")]
    conditions = {condition.get("id") for condition in package.iter("condition")}
    for component in package.iter("component"):
        assert component.get("condition") in conditions
        assert component.get("Cversion") == version("edgesnn")
    files = {(file.get("category"), file.get("name")) for file in package.iter("file")}
    sources = {name for category, name in files if category == "sourceC"}
    assert sources == {f"src/{path.name}" for path in CORE_SOURCES}
    assert sources <= names
    assert ("include", "src/") in files


def test_the_arduino_library_has_its_files_and_its_example_runs(
    made: Path, model: Model, frames: Int16Array, expected: Outputs, tmp_path: Path
) -> None:
    """The example on the host, with a serial port made of standard input and output."""
    library = made / "arduino"
    lines = (library / "library.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines)
    needed = {"name", "version", "author", "maintainer", "sentence", "paragraph", "url"}
    assert needed | {"category", "architectures"} <= set(properties)
    assert re.fullmatch(r"\d+\.\d+\.\d+", properties["version"])
    assert (library / "keywords.txt").is_file()
    said = run_sketch(library, library / "examples" / "Run", frames, tmp_path)
    assert said == [model.classes[k] for k in expected.step_labels[0]]
