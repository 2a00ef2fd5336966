"""Lines and branches that the tests run of the C core, the stream app and the Python packages.

`make cov` runs the test suite on a core that counts, prints a line a part and fails where one is
below its mark. Left out are the tests that only compile for other processors or emulate them, of
which nothing is counted here, and those whose point is time or other compilers.

C is counted by clang's source-based coverage, through programs that carry it in place of gcc and
clang on the tests' path. Its counters live in files, so that what a killed board ran counts too.
What the preprocessor takes out on this machine is no line: esnn_kernels_arm.c, esnn_kernels_mve.c
and esnn_kernels_packed.c are not measured here.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "cov"
RAW, RAN, OBJECTS, BIN, HOOK, LIB, CONFIG = (
    OUT / name for name in ("raw", "ran", "objects", "bin", "hook", "lib", "coveragerc")
)
PACKAGES = ("edgesnn", "blimp", "converters", "devices", "zoo")
PARTS = {"core": "firmware/core/", "app": "firmware/app/"}
# what trains networks: it needs PyTorch or hours, and runs when one is made anew
RECIPES = ("zoo/training.py", "zoo/baseline.py", "zoo/blimp/fit.py", "/train.py")
# lines, branches: what is reached at least, %
# (of Python 95 is the aim, see docs/testing.md)
MARKS = {"core": (100.0, 95.0), "app": (100.0, 95.0), "python": (92.0, 0.0), "recipes": (0.0, 0.0)}
INSTRUMENTED = (
    "-fprofile-instr-generate", "-fcoverage-mapping", "-mllvm", "-runtime-counter-relocation",
    "-Qunused-arguments", "-Wno-error", "-Wno-unknown-warning-option",
)  # fmt: skip
# of what compiles the core in many ways, what clang can count
COMPILED = tuple(
    f"tests/test_compilers.py::test_{name}"
    for name in (
        "any_compiler_and_option_gives_the_same_bits[clang -O2]",
        "any_compiler_and_option_gives_the_same_bits[clang -O2, vectors]",
        "what_the_core_takes_means_the_same_in_python",
    )
)
LEFT_OUT = (
    "tests/test_compilers.py", "tests/test_count.py",
    "tests/test_emulated.py", "tests/test_fuzz.py", "tests/test_nus.py", "tests/test_size.py",
    "tests/test_soak.py",
)  # fmt: skip
# that every byte is tried is their point, and takes minutes
EXHAUSTIVE = tuple(
    f"tests/test_hostile.py::test_{name}"
    for name in (
        "every_changed_byte_is_refused",
        "a_changed_byte_with_a_sound_crc_stays_in_bounds",
        "many_changes_with_a_sound_crc_stay_in_bounds",
        "garbage_with_a_sound_crc_stays_in_bounds",
    )
)

SHIM = """#!/bin/sh
# {real}, with counters; notes where the program goes
out= last=
for argument; do
    [ "$last" = -o ] && out=$(realpath -m "$argument")
    last=$argument
done
echo "$out" >> {objects}
exec {clang} "$@" {flags}
"""

CONFIG_SOURCE = """[run]
parallel = true
patch = subprocess, _exit
source =
    {sources}
[report]
exclude_also =
    if TYPE_CHECKING:
"""

HOOK_SOURCE = '''"""The core that counts, in place of the one that is installed."""
import importlib.util
import sys


class Core:
    def find_spec(self, name, path=None, target=None):
        if name == "edgesnn._core":
            return importlib.util.spec_from_file_location(name, {core!r})


sys.meta_path.insert(0, Core())
'''


@dataclass
class Counted:
    """What ran of a file: of each line, and of each branch, whether it ever did."""

    lines: dict[int, bool] = field(default_factory=dict)
    branches: dict[str, bool] = field(default_factory=dict)


def environment() -> dict[str, str]:
    """Where the tests find compilers and the core that count."""
    return {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": str(HOOK),
        "LLVM_PROFILE_FILE": f"{RAW}/%m%c.profraw",
    }


def prepare() -> None:
    """Compilers that count, and a core that they made."""
    shutil.rmtree(OUT, ignore_errors=True)
    for folder in (RAW, BIN, HOOK, OUT / "tmp"):
        folder.mkdir(parents=True)
    clang = shutil.which("clang")
    for name in ("cc", "gcc", "clang"):
        shim = BIN / name
        flags = " ".join(INSTRUMENTED)
        shim.write_text(SHIM.format(real=name, objects=OBJECTS, clang=clang, flags=flags))
        shim.chmod(0o755)
    compiler = BIN / "clang"
    # an object that was made before, without counters, would be taken as it is
    (OUT / "build.cfg").write_text(f"[build]\nbuild_base = {OUT / 'build'}\n")
    made = {
        "CC": str(compiler),
        "LDSHARED": f"{compiler} -shared",
        "DIST_EXTRA_CONFIG": str(OUT / "build.cfg"),
    }
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", LIB, ROOT],
        env={**environment(), **made}, check=True,
    )  # fmt: skip
    sources = "\n    ".join(str(ROOT / name) for name in PACKAGES)
    CONFIG.write_text(CONFIG_SOURCE.format(sources=sources))
    core = next(LIB.glob("edgesnn/_core*.so"))
    (HOOK / "sitecustomize.py").write_text(HOOK_SOURCE.format(core=str(core)))


def tests() -> list[str]:
    """All that is counted."""
    files = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/test_*.py"))
    return [path for path in files if path not in LEFT_OUT] + [*COMPILED]


def run_tests(chosen: list[str]) -> bool:
    """Tests with all counters on; whether they passed."""
    folder = RAN / str(os.getpid())
    folder.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "coverage", "run", f"--rcfile={CONFIG}", "-m", "pytest", "-q",
         *(f"--deselect={name}" for name in EXHAUSTIVE), "-m", "not board",
         f"--basetemp={OUT / 'tmp' / str(os.getpid())}", *chosen],
        cwd=ROOT, env={**environment(), "COVERAGE_FILE": str(folder / "python")},
    )  # fmt: skip
    return done.returncode == 0


def count_python() -> dict[str, Counted]:
    """What ran of every module of the packages."""
    call = [sys.executable, "-m", "coverage"]
    report, options = OUT / "python.json", (f"--rcfile={CONFIG}",)
    file = {**environment(), "COVERAGE_FILE": str(OUT / "python")}
    ran = sorted(RAN.glob("*/python*"))
    subprocess.run([*call, "combine", "-q", "--keep", *options, *ran], env=file, check=True)
    subprocess.run([*call, "json", "-q", *options, "-o", report], env=file, check=True)
    found = {}
    for name, file in json.loads(report.read_text())["files"].items():
        lines = dict.fromkeys(file["executed_lines"], True)
        lines |= dict.fromkeys(file["missing_lines"], False)
        found[str((ROOT / name).relative_to(ROOT))] = Counted(lines)
    return found


def count_c() -> dict[str, Counted]:
    """What ran of every file of core and app, in any of the programs that have it."""
    profile = OUT / "all.profdata"
    subprocess.run(["llvm-profdata", "merge", "-o", profile, *RAW.iterdir()], check=True)
    found: dict[str, Counted] = defaultdict(Counted)
    for made in dict.fromkeys(OBJECTS.read_text().splitlines()):
        if not Path(made).is_file() or made.endswith(".o"):
            continue
        done = subprocess.run(
            ["llvm-cov", "export", "-format=lcov", f"-instr-profile={profile}", made],
            capture_output=True, text=True,
        )  # fmt: skip
        name = ""
        for line in done.stdout.splitlines():
            kind, _, rest = line.partition(":")
            if kind == "SF":
                name = rest.removeprefix(f"{ROOT}/")
            elif name.startswith(tuple(PARTS.values())) and kind == "DA":
                number, count = map(int, rest.split(","))
                lines = found[name].lines
                lines[number] = lines.get(number, False) or count > 0
            elif name.startswith(tuple(PARTS.values())) and kind == "BRDA":
                branch, taken = rest.rsplit(",", 1)
                branches = found[name].branches
                branches[branch] = branches.get(branch, False) or taken not in ("-", "0")
    return dict(found)


def share(counted: list[bool]) -> float:
    """Of those that ran, %."""
    return 100 * sum(counted) / max(1, len(counted))


def report(part: str, files: dict[str, Counted]) -> bool:
    """Print what ran and what did not; whether that reaches the part's marks."""
    lines = [ran for file in files.values() for ran in file.lines.values()]
    branches = [ran for file in files.values() for ran in file.branches.values()]
    of_lines, of_branches = MARKS[part]
    for name, file in sorted(files.items()):
        missed = [n for n, ran in sorted(file.lines.items()) if not ran]
        halves = [b.split(",")[0] for b, ran in sorted(file.branches.items()) if not ran]
        if missed or halves:
            print(f"  {name}: {share([*file.lines.values()]):.1f} %")
            print("    lines:", ", ".join(ranges(missed)) or "all")
            if file.branches:
                print("    branches missed in lines:", ", ".join(halves) or "none")
    said = f"{part}: line {share(lines):.2f} % of {len(lines)}"
    if branches:
        said += f", branch {share(branches):.2f} % of {len(branches)}"
    reached = share(lines) >= of_lines and share(branches) >= of_branches
    print(said if reached else f"{said}: below {of_lines} %, {of_branches} %")
    return reached


def ranges(numbers: list[int]) -> list[str]:
    """Numbers in order, those that follow one another put together."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [str(a) if a == b else f"{a}-{b}" for a, b in found]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tests", nargs="*", help="default: all that anything is counted of")
    parser.add_argument("--keep", action="store_true", help="add to what was counted before")
    chosen = parser.parse_args()
    if not chosen.keep:
        prepare()
    passed = run_tests(chosen.tests or tests())
    c, python = count_c(), count_python()
    reached = [
        report(part, {name: file for name, file in c.items() if name.startswith(folder)})
        for part, folder in PARTS.items()
    ]
    recipes = {name: file for name, file in python.items() if name.endswith(RECIPES)}
    rest = {name: file for name, file in python.items() if name not in recipes}
    reached += [report("recipes", recipes), report("python", rest)]
    return int(not passed or not all(reached))


if __name__ == "__main__":
    sys.exit(main())
