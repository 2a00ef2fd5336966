"""Firmware onto boards: the command `flash`, with the tool of each board's own world.

What is run for a board is data (`PLANS`), shown before it is run.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesnn.devices.commands import PATH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Plan:
    """How the firmware of a board gets onto it.

    Attributes:
        commands: what is run, one after the other; `{elf}`, `{bin}` and `{hex}` stand for the
            image, `{port}` for the serial port, `{folder}` for that of the image.
        get: where the tool comes from.
        build: what `make -C firmware` is called with.
        before: what to do with the board first.
    """

    commands: tuple[tuple[str, ...], ...]
    get: str
    build: tuple[str, ...]
    before: str = ""

    @property
    def tools(self) -> tuple[str, ...]:
        """The programs that are run."""
        return tuple(dict.fromkeys(command[0] for command in self.commands))

    @property
    def needs_port(self) -> bool:
        """Whether a serial port must be named."""
        return any("{port}" in part for command in self.commands for part in command)

    def command_lines(self, image: Path, port: str) -> list[list[str]]:
        """What is run, for an image (its .elf) and a port."""
        values = {
            "elf": image.with_suffix(".elf"),
            "bin": image.with_suffix(".bin"),
            "hex": image.with_suffix(".hex"),
            "folder": image.parent,
            "port": port,
        }
        return [[part.format(**values) for part in command] for command in self.commands]


def _pyocd(target: str) -> tuple[str, ...]:
    return ("pyocd", "load", "--target", target, "{elf}")


PIP = "`pip install {}`"
PLANS: Mapping[str, Plan] = {
    "microbit": Plan((_pyocd("nrf51"),), PIP.format("pyocd"), ("BOARD=microbit",)),
    "nrf52832": Plan((_pyocd("nrf52"),), PIP.format("pyocd"), ("BOARD=nrf52832",)),
    "nrf52840": Plan((_pyocd("nrf52840"),), PIP.format("pyocd"), ("BOARD=nrf52840",)),
    "microbit-boot": Plan(
        (
            (
                "stm32flash", "-m", "8n1", "-b", "115200", "-w", "{bin}", "-v",
                "-g", "0x08000000", "{port}",
            ),
        ),
        "the package stm32flash",
        ("BOARD=microbit", "BOOT=1"),
        "press its reset button: its bootloader answers for half a second",
    ),
}  # fmt: skip


def plan_of(board: str) -> Plan:
    """The plan of a board.

    Raises:
        MissingError: there is none.
    """
    from edgesnn.errors import MissingError

    if board not in PLANS:
        raise MissingError(
            f"there is no plan to flash a board called '{board}': there is {', '.join(PLANS)}"
        )
    return PLANS[board]


def build(board: str, arguments: Sequence[str], key: Path | None) -> Path:
    """Build the firmware of a board from the source tree; its .elf.

    Raises:
        MissingError: this is no source tree, or what builds is missing.
    """
    from edgesnn.errors import MissingError

    folder = ROOT / "firmware"
    if not (folder / "Makefile").is_file():
        raise MissingError(
            f"the firmware of {board} is built from the source tree of edgesnn, which is not here: "
            "name a prebuilt one with --image"
        )
    out = ROOT / "build" / "firmware" / (board if key is None else f"{board}-{key.stem}")
    command = ["make", "-C", str(folder), *arguments, f"OUT={out}"]
    if key is not None:
        command.append(f"KEY={key.resolve()}")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise MissingError(
            f"the firmware of {board} does not build: {done.stderr.strip().splitlines()[-1]}"
        )
    return out / "edgesnn.elf"


@click.command()
@click.option("--board", required=True, help=f"One of {', '.join(PLANS)}.")
@click.option("--port", default="", help="Serial port, where the board is flashed over one.")
@click.option("--image", type=PATH, help="A prebuilt firmware (.elf, .bin or .hex beside it).")
@click.option("--key", type=PATH, help="Header of `edgesnn keys`: take only models signed for it.")
@click.option("--dry-run", is_flag=True, help="Show what would be run.")
def flash(board: str, port: str, image: Path | None, key: Path | None, dry_run: bool) -> None:
    """Build the firmware of a board and write it, with the tool made for that board."""
    from edgesnn.errors import DeviceError, MissingError

    plan = plan_of(board)
    if plan.needs_port and not port:
        raise MissingError(f"{board} is flashed over a serial port: name it with --port")
    if image is not None and not image.is_file():
        raise MissingError(f"there is no file {image}: check the path")
    for tool in () if dry_run else plan.tools:
        if shutil.which(tool) is None:
            raise MissingError(f"{board} is flashed with {tool}, which is missing: get {plan.get}")
    if image is None:
        image = (
            ROOT / "build" / "firmware" / board / "edgesnn.elf"
            if dry_run
            else build(board, plan.build, key)
        )
    if plan.before:
        click.echo(plan.before, err=True)
    for line in plan.command_lines(image, port):
        click.echo(shlex.join(line))
        if not dry_run and subprocess.run(line).returncode != 0:
            raise DeviceError(
                f"{line[0]} could not write the firmware to {board}: see what it said, check that "
                "the board is plugged in and start over"
            )
