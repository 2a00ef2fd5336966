"""Fetch Monocypher's C files, which the source package of pymonocypher holds.

The package is pinned by its hash in monocypher.txt, and what is in it is no part of this tree: it
goes into a build folder, once.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent.parent / "build" / "monocypher"
FILES = ("monocypher.c", "monocypher.h")


def fetch(folder: Path = FOLDER) -> Path:
    """The folder with the two files, fetched where they are not there yet.

    Raises:
        RuntimeError: the package index gives no such package.
    """
    if all((folder / name).is_file() for name in FILES):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [
                sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                "--require-hashes", "--no-binary", "pymonocypher",
                "--requirement", HERE / "monocypher.txt", "--dest", scratch,
            ],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(
                f"cannot fetch Monocypher with pip: {done.stderr.strip()[-500:]}; check the "
                "connection to the package index"
            )
        (package,) = Path(scratch).glob("pymonocypher-*.tar.gz")
        with tarfile.open(package) as archive:
            for name in FILES:
                member = archive.extractfile(f"{package.name.removesuffix('.tar.gz')}/{name}")
                assert member is not None
                part = folder / f".{name}"
                part.write_bytes(member.read())
                part.replace(folder / name)
    return folder


if __name__ == "__main__":
    try:
        print(fetch(*map(Path, sys.argv[1:])))
    except RuntimeError as error:
        sys.exit(str(error))
