"""Exported projects: each is built with what is here, and gives the reference's bits."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from native import FIRMWARE, STRICT, TESTS, call, tool

from edgesnn import blob, reference
from edgesnn.cli import main
from edgesnn.devices import export
from edgesnn.devices.recordings import basic_motions
from edgesnn.graph import Int16Array
from edgesnn.quantize import quantize
from edgesnn.reference import Outputs
from edgesnn.sources import read_network
from edgesnn.zoo.basicmotions import CHECKPOINT
from firmware.cores import CORES, STRING, STRING_FLAGS, compile_one, link
from firmware.count import count

SAMPLES = 2
LINUX = (
    ("cc", ()),
    ("arm-linux-gnueabihf-gcc", ("qemu-arm", "-L", "/usr/arm-linux-gnueabihf")),
    ("aarch64-linux-gnu-gcc", ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")),
)
JNI = Path("/usr/include/android/nativehelper/jni.h")


@pytest.fixture(scope="module")
def model() -> blob.Model:
    """The demo's, with the names of its classes."""
    graph = quantize(read_network(CHECKPOINT), basic_motions("train").signal).graph
    classes = list(basic_motions("test").classes)
    return blob.unpack(blob.pack(graph, {"classes": classes, "report": {}}))


@pytest.fixture(scope="module")
def frames(model: blob.Model) -> Int16Array:
    """Of some of the demo's test recordings, one behind the other."""
    entry: Any = model.graph.input
    quantized: Int16Array = entry.quantize(basic_motions("test").signal)[::15][:SAMPLES]
    return quantized.reshape(1, -1, entry.size)


@pytest.fixture(scope="module")
def expected(model: blob.Model, frames: Int16Array) -> Outputs:
    return reference.run(model.graph, frames)


def project(model: blob.Model, form: str, folder: Path) -> Path:
    export.write_project(folder / form, model, form)
    return folder / form


@pytest.mark.parametrize("program", ["run", "run-shared"])
@pytest.mark.parametrize(("compiler", "runner"), LINUX)
def test_c_gives_the_references_bits(
    model: blob.Model, frames: Int16Array, expected: Outputs, tmp_path: Path,
    compiler: str, runner: tuple[str, ...], program: str,
) -> None:  # fmt: skip
    """As a program with the static and with the shared library, here and on Arm Linux emulated."""
    made = project(model, "c", tmp_path)
    flags = "CFLAGS=" + " ".join((*STRICT, "-O2"))
    call(["make", "-C", made, f"CC={tool(compiler)}", flags, program])
    said = answers([*runner, made / program], frames)
    assert [int(digest, 16) for _, digest in said] == expected.digests[0].tolist()
    assert [name for name, _ in said] == [model.classes[k] for k in expected.step_labels[0]]


def answers(line: list[str | Path], frames: Int16Array) -> list[list[str]]:
    """Class and digest of each frame, as a program says them."""
    lines = "\n".join(" ".join(map(str, frame)) for frame in frames[0].tolist())
    done = subprocess.run(line, input=lines, capture_output=True, text=True, check=True)
    return [line.rsplit(" ", 1) for line in done.stdout.splitlines()]


def test_arduino_library_has_its_files_and_its_example_runs(
    model: blob.Model, frames: Int16Array, expected: Outputs, tmp_path: Path
) -> None:
    """The example on the host, with a serial port made of standard input and output."""
    made = project(model, "arduino", tmp_path)
    properties = dict(
        line.split("=", 1) for line in (made / "library.properties").read_text().splitlines()
    )
    # what the Arduino library specification demands
    needed = {"name", "version", "author", "maintainer", "sentence", "paragraph", "url"}
    assert needed | {"category", "architectures"} <= set(properties)
    assert re.fullmatch(r"\d+\.\d+\.\d+", properties["version"])
    said = run_sketch(made, made / "src", frames, tmp_path)
    assert said == [model.classes[k] for k in expected.step_labels[0]]


def run_sketch(library: Path, model: Path, frames: Int16Array, folder: Path) -> list[str]:
    """What the example of an Arduino library prints, a serial port made of standard input.

    Args:
        library: its folder.
        model: the folder of the model's sources.
        frames: (1, steps, channels) int16.
        folder: for what is built.
    """
    stub = folder / "stub.cpp"
    stub.write_text(
        "#include <cstdio>\n#include <cstdlib>\n"
        "struct { void begin(long) {}\n"
        "  unsigned long readBytes(char *to, unsigned long n) {\n"
        "    if (fread(to, 1, n, stdin) != n) { exit(0); }\n    return n;\n  }\n"
        "  void println(const char *text) { puts(text); } } Serial;\n"
        f'#include "{library}/examples/Run/Run.ino"\n'
        "int main() { setup(); for (;;) { loop(); } }\n"
    )
    objects = []
    for source in sorted({*(library / "src").glob("*.c"), *model.glob("*.c")}):
        objects.append(folder / f"{source.stem}.o")
        call([tool("cc"), *STRICT, "-c", source, "-o", objects[-1]])
    program = folder / "sketch"
    flags = ("-Wall", "-Wextra", "-Werror")
    include = (f"-I{library / 'src'}", f"-I{model}")
    call([tool("g++"), *flags, *include, stub, *objects, "-o", program])
    data = frames.astype("<i2").tobytes()
    done = subprocess.run([program], input=data, capture_output=True, check=True)
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize(("compiler", "runner"), LINUX)
def test_the_face_for_java_gives_the_references_bits(
    model: blob.Model, frames: Int16Array, expected: Outputs, tmp_path: Path,
    compiler: str, runner: tuple[str, ...],
) -> None:  # fmt: skip
    """Called as Java would, by its symbols, which are those that Model.java looks for."""
    made = project(model, "c", tmp_path)
    if not JNI.exists():
        pytest.fail("jni.h is not installed: `make test` installs what the tests need")
    flags = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror")
    include = f"JNI_INCLUDE={JNI.parent}"
    call(["make", "-C", made, f"CC={tool(compiler)}", f"CFLAGS={' '.join(flags)}", include, "jni"])
    program = made / "java"
    call([tool(compiler), *flags, f"-I{JNI.parent}", f"-I{made / 'edgesnn'}", TESTS / "jni.c",
          made / "libedgesnn_jni.so", "-Wl,-rpath,$ORIGIN", "-o", program])  # fmt: skip
    said = answers([*runner, program], frames)
    assert [int(digest, 16) for _, digest in said] == expected.digests[0].tolist()
    assert [name for name, _ in said] == [model.classes[k] for k in expected.step_labels[0]]
    symbols = call([tool("nm"), "-D", "--defined-only", made / "libedgesnn_jni.so"]).decode()
    java = (made / "Model.java").read_text()
    wanted = {f"Java_edgesnn_Model_{name}" for name in re.findall(r"native \w+ (\w+)\(", java)}
    assert len(wanted) == 5
    assert set(re.findall(r"T (Java_\w+)", symbols)) == wanted


@pytest.mark.board
def test_the_face_for_cpp_compiles_as_infinitime_does(model: blob.Model, tmp_path: Path) -> None:
    """For the PineTime's core and with flags as its firmware has them."""
    made = project(model, "c", tmp_path)
    (tmp_path / "use.cpp").write_text(
        '#include "model.hpp"\n'
        "int use(edgesnn::Model &model, const int16_t (&frame)[edgesnn::Model::channels]);\n"
        "int use(edgesnn::Model &model, const int16_t (&frame)[edgesnn::Model::channels]) {\n"
        "    return model.Start() && model.Quantize(0, 512, 10) ? model.Step(frame) : -1;\n}\n"
    )
    flags = (
        "-std=c++20", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-Os",
        "-fno-exceptions", "-fno-rtti", "-ffreestanding", "-Wall", "-Wextra", "-Werror",
    )  # fmt: skip
    include = (f"-I{made}", f"-I{made / 'edgesnn'}")
    out = tmp_path / "use.o"
    call([tool("arm-none-eabi-g++"), *flags, *include, "-c", tmp_path / "use.cpp", "-o", out])
    assert out.stat().st_size > 0


@pytest.mark.parametrize(
    ("form", "main_file", "before"),
    [
        ("espidf", "main/main.c", "void app_main(void); int main(void) { app_main(); }"),
        ("zephyr", "src/main.c", ""),
    ],
)
def test_projects_without_their_tools_here_run_on_the_host(
    model: blob.Model, tmp_path: Path, form: str, main_file: str, before: str
) -> None:
    """Their C, that is: neither ESP-IDF nor Zephyr is here, so their build files are not run."""
    made = project(model, form, tmp_path)
    header = tmp_path / "zephyr" / "sys" / "printk.h"
    header.parent.mkdir(parents=True, exist_ok=True)
    header.write_text("#include <stdio.h>\n#define printk printf\n")
    (tmp_path / "host.c").write_text(before or "typedef int nothing_here;\n")
    sources = sorted((made / export.SOURCES[form]).glob("*.c"))
    program = tmp_path / "program"
    include = [f"-I{made / export.SOURCES[form]}", f"-I{tmp_path}"]
    call([
        tool("cc"), *STRICT, "-O2", *include, made / main_file, tmp_path / "host.c", *sources,
        "-o", program,
    ])  # fmt: skip
    assert call([program]) == b"edgesnn: the model runs\n"


@pytest.mark.board
def test_the_bangle_code_gives_the_references_bits_wherever_it_lies(
    model: blob.Model, frames: Int16Array, expected: Outputs, tmp_path: Path
) -> None:
    """On an emulated Cortex-M4, called as Espruino calls native code."""
    tool("arm-none-eabi-gcc")
    tool("qemu-system-arm")
    made = project(model, "bangle", tmp_path)
    code = (made / "edgesnn.bin").read_bytes()
    count.write_model(tmp_path, code, frames[0], b"")
    core = CORES["m4"]
    flags = (
        f"-I{FIRMWARE / 'count'}", f"-Wa,-I{tmp_path}", "-O2",
        f"-DCHANNELS_OF_MODEL={frames.shape[2]}",
    )  # fmt: skip
    sources = {
        TESTS / "bangle.c": flags,
        FIRMWARE / "count" / "start.c": (*flags, "-Os"),
        FIRMWARE / "count" / "model.S": flags,
        STRING: STRING_FLAGS,
    }
    objects = [
        compile_one(core, source, tmp_path / f"{source.stem}.o", options)
        for source, options in sources.items()
    ]
    places = {"CODE": core.code, "RAM": core.ram, "RAM_SIZE": 512 << 10}
    elf = link(core, objects, tmp_path / "g.elf", FIRMWARE / "count" / "link.ld", **places)
    first, second, _ = count.emulate("m4", elf, tmp_path).splitlines()
    assert first == second
    said = [int(number, 16) for number in first.split()]
    assert said[1::2] == expected.digests[0].tolist()
    assert said[::2] == expected.step_labels[0].tolist()


@pytest.mark.board
def test_the_bangle_app_has_its_files(model: blob.Model, tmp_path: Path) -> None:
    tool("arm-none-eabi-gcc")
    made = project(model, "bangle", tmp_path)
    metadata = json.loads((made / "metadata.json").read_text())
    for file in metadata["storage"]:
        assert (made / file["url"]).stat().st_size > 0
    first = (made / "app.js").read_text().splitlines()[0]
    known = json.loads(first.removeprefix("const MODEL = ").removesuffix(";"))
    assert known["channels"] == model.graph.input.size
    assert known["classes"] == list(model.classes)


def test_the_command_writes_a_whole_project_or_nothing(
    model: blob.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.esnn").write_bytes(model.image)
    line = ["export", str(tmp_path / "model.esnn"), "--format", "c", "-o", str(tmp_path / "made")]
    assert CliRunner().invoke(main, line).exit_code == 0
    again = CliRunner().invoke(main, line)
    assert again.exit_code == 2
    assert "choose another name" in again.stderr
    line[3], line[5] = "bangle", str(tmp_path / "app")
    monkeypatch.setattr(export.shutil, "which", lambda name: None)
    missing = CliRunner().invoke(main, line)
    assert missing.exit_code == 2
    assert "install the package gcc-arm-none-eabi" in missing.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "model.esnn"]


def test_numbers_of_the_header_are_the_models(model: blob.Model, tmp_path: Path) -> None:
    header = export.model_header(model)
    found = dict(re.findall(r"#define MODEL_(\w+) (\d+)", header))
    assert int(found["BYTES"]) == len(model.image)
    assert int(found["ARENA_BYTES"]) == model.arena_bytes
    assert int(found["CLASSES"]) == len(model.classes)
    assert np.array(export.fraction_bits(model)).shape == (model.graph.input.size,)
