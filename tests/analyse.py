"""Static analysis of firmware/core and firmware/app (`make analyse`).

clang-tidy by firmware/.clang-tidy, cppcheck by firmware/cppcheck.txt and gcc's -fanalyzer must find
nothing; the rules of MISRA C:2012 that cppcheck finds broken must be those that docs/misra.md gives
a reason for, and `--write` counts them there anew. What is analysed is what any compiler builds:
the kernels for one processor are assembler, and other tests compare them bit by bit.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "misra.md"
FOLDERS = ("firmware/core", "firmware/app")
FILES = sorted(str(p.relative_to(ROOT)) for f in FOLDERS for p in (ROOT / f).glob("*.c"))
INCLUDE = [f"-I{folder}" for folder in FOLDERS]
UNKNOWN_POINTERS = "clang-analyzer-core.NullDereference"
NOT_SEEN = {
    # which arrays a model has is in its image, and the check of the image has proved it
    "firmware/core/esnn_neuron.c": (
        f"--checks=-{UNKNOWN_POINTERS}",
        ("-Wno-analyzer-null-dereference", "-Wno-analyzer-use-of-uninitialized-value"),
    ),
    # it is written to through the decoder that it is put into
    "firmware/app/packet.c": ("--checks=-readability-non-const-parameter", ()),
    # a board without a store never leaves
    "firmware/app/app.c": (f"--checks=-{UNKNOWN_POINTERS}", ("-Wno-analyzer-null-dereference",)),
}
"""What an analyser cannot know, by file: options of clang-tidy, and of gcc."""
CPPCHECK = [
    "cppcheck", "-q", "--std=c99", "--platform=unix64", "-D__GNUC__=12", "-DESNN_PORTABLE",
    *INCLUDE,
]  # fmt: skip
MISRA = re.compile(r"misra-c2012-(\d+\.\d+)$", re.MULTILINE)
ROW = re.compile(r"^\| (\d+\.\d+) \| (\d+) \| (.+) \|$", re.MULTILINE)


def said(command: list[str]) -> str:
    """All that a tool says."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout + (done.stderr if command[0] != "clang-tidy" else "")


def clang_tidy(name: str) -> str:
    """What clang-tidy finds in a file."""
    tidy = str(Path(sys.executable).parent / "clang-tidy")
    options = ["--quiet", *NOT_SEEN.get(name, ("",))[:1]]
    done = subprocess.run(
        [tidy, *filter(None, options), name, "--", "-std=c99", *INCLUDE],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr


def fanalyzer(name: str) -> str:
    """What gcc's analyser finds in a file."""
    options = NOT_SEEN.get(name, ("", ()))[1]
    return said(
        ["gcc", "-std=c99", "-O1", "-fanalyzer", *options, *INCLUDE, "-c", name, "-o", "/dev/null"]
    )


def cppcheck() -> str:
    """What cppcheck finds in all files."""
    enabled = "--enable=warning,style,performance,portability"
    return said([*CPPCHECK, enabled, "--suppressions-list=firmware/cppcheck.txt", *FOLDERS])


def misra() -> Counter[str]:
    """Places at which each rule is broken; a place of a header counts once."""
    found = said(
        [
            *CPPCHECK,
            "--enable=style",
            "--addon=misra",
            "--template={file}:{line}:{column}:{id}",
            *FOLDERS,
        ]
    )
    return Counter(MISRA.findall("\n".join(sorted(set(found.splitlines())))))


def in_order(rules: Counter[str]) -> list[str]:
    """Rules by their numbers."""
    return sorted(rules, key=lambda rule: [int(part) for part in rule.split(".")])


def check_misra(write: bool) -> str:
    """What docs/misra.md lacks; "" if nothing."""
    text = PAGE.read_text()
    listed = {rule: why for rule, _, why in ROW.findall(text)}
    found = misra()
    if write:
        rows = "".join(
            f"| {rule} | {found[rule]} | {listed.get(rule, '')} |\n" for rule in in_order(found)
        )
        PAGE.write_text(re.sub(r"(?:^\| \d.*\n)+", lambda _: rows, text, flags=re.MULTILINE))
    missing = [
        f"rule {rule} has no reason in docs/misra.md"
        for rule in in_order(found)
        if not listed.get(rule)
    ]
    gone = [f"rule {rule} of docs/misra.md is kept by now" for rule in listed if rule not in found]
    print(
        f"MISRA C:2012: {sum(found.values())} places, {len(found)} rules, each with its reason"
        * (not missing)
    )
    return "\n".join(missing + gone)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--write", action="store_true", help="count MISRA's rules in docs/misra.md anew"
    )
    write = parser.parse_args().write
    failed = 0
    for name, found in (
        ("clang-tidy", "".join(map(clang_tidy, FILES))),
        ("cppcheck", cppcheck()),
        ("gcc -fanalyzer", "".join(map(fanalyzer, FILES))),
        ("MISRA", check_misra(write)),
    ):
        if found.strip():
            print(f"{name}:\n{found}")
            failed = 1
        elif name != "MISRA":
            print(f"{name}: {len(FILES)} files, 0 findings")
    return failed


if __name__ == "__main__":
    sys.exit(main())
