"""Firmware onto boards, with a model in it if wanted: the command `flash`.

Each board has the tools of its own world. What is run for one is data (`PLANS`), shown before it is
run.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesnn.devices.commands import PATH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgesnn.devices.firmware import Firmware

ROOT = Path(__file__).resolve().parent.parent
DRIVES = ("/media", "/run/media", "/Volumes", "/mnt")
"""Where systems show the drives of bootloaders."""
DRIVE_MARK = "INFO_UF2.TXT"


@dataclass(frozen=True)
class Plan:
    """How the firmware of a board gets onto it.

    Attributes:
        commands: what is run, one after the other. In them stand, for files: `{firmware}` and
            `{store}` for the firmware and the model's part of the flash as Intel hex; `{hex}`,
            `{bin}` and `{uf2}` for both; `{made}` for what a command makes for the next, without
            its ending. And `{port}` for the serial port, `{drive}` for the drive of a bootloader,
            `{boot_key}` for the key of an MCUboot: without it the option is left out, without
            `{store}` the command.
        get: where the tools come from.
        build: what `make -C firmware` is called with.
        before: what to do with the board first.
        family: the number of the chip in UF2 files.
        models: whether the way leads to where models are kept.
        failure: what a tool says that fails and exits with 0 all the same.
    """

    commands: tuple[tuple[str, ...], ...]
    get: str
    build: tuple[str, ...]
    before: str = ""
    family: int = 0
    models: bool = True
    failure: str = ""

    @property
    def tools(self) -> tuple[str, ...]:
        """The programs that are run."""
        return tuple(dict.fromkeys(command[0] for command in self.commands))

    @property
    def board(self) -> str:
        """What the firmware calls itself."""
        return dict(part.split("=") for part in self.build)["BOARD"]

    @property
    def start(self) -> int | None:
        """Address of the firmware, where it is behind another program; None: the board's own."""
        base = dict(part.split("=") for part in self.build).get("FLASH_BASE")
        return None if base is None else int(base, 0)

    def needs(self, what: str) -> bool:
        """Whether something, such as a port, stands in the commands."""
        return any(f"{{{what}}}" in part for command in self.commands for part in command)

    def command_lines(self, values: Mapping[str, object]) -> list[list[str]]:
        """What is run; `values` are what the commands name, without what is not there."""
        missing = {f"{{{name}}}" for name in ("store", "boot_key") if name not in values}
        return [
            [
                part.format(**values)
                for part in command
                if not any(name in part for name in missing)
            ]
            for command in self.commands
            if not missing & set(command)
        ]  # fmt: skip


def values_of(image: Path, model: bool = False, **more: object) -> dict[str, object]:
    """What stands for what in the commands for an image (its .elf): files in its folder."""
    names = {name: f"flash.{name}" for name in ("bin", "uf2", "hex")}
    names |= {"firmware": "firmware.hex", "made": "made"} | (
        {"store": "store.hex"} if model else {}
    )
    files = {name: image.with_name(file) for name, file in names.items()}
    return {**files, **{name: value for name, value in more.items() if value}}


PIP = "`pip install {}`"
PYOCD, ESPTOOL = PIP.format("pyocd"), PIP.format("'esptool>=5'")
OPENOCD, STM32FLASH = "the package openocd", "the package stm32flash"
PACK = "`pip install pyocd` and `pyocd pack install {}`"
UF2_COPY = (("cp", "{uf2}", "{drive}"),)
BOOT0 = "hold its BOOT0 high and press reset: its own bootloader then listens on the serial line"


def _pyocd(target: str, *build: str, get: str = PYOCD) -> Plan:
    # without --no-wait it waits for a probe for ever
    return Plan((("pyocd", "load", "--no-wait", "--target", target, "{hex}"),), get, build)


def _openocd(interface: str, target: str, *build: str) -> Plan:
    files = ("-f", f"interface/{interface}.cfg", "-f", f"target/{target}.cfg")
    return Plan(
        (("openocd", *files, "-c", "program {hex} verify reset exit"),), OPENOCD, build
    )  # fmt: skip


def _stm32flash(*build: str) -> Plan:
    line = ("stm32flash", "-b", "115200", "-w", "{bin}", "-v", "-g", "0x08000000", "{port}")
    return Plan((line,), STM32FLASH, build, BOOT0)


def _stm32(board: str, family: str, part: str) -> dict[str, Plan]:
    build = f"BOARD={board}"
    return {
        "openocd": _openocd("stlink", family, build),
        "pyocd": _pyocd(part, build, get=PACK.format(part)),
        "stm32flash": _stm32flash(build),
    }


def _nrf52(board: str) -> dict[str, Plan]:
    build = f"BOARD={board}"
    return {
        "pyocd": _pyocd(board, build),
        "openocd": _openocd("cmsis-dap", "nrf52", build),
    }


# behind the bootloader of Adafruit's and Arduino's boards, its MBR and SoftDevice
BEHIND_UF2 = ("BOARD=nrf52840", "FLASH_BASE=0x26000", "FLASH_SIZE=0x5a000")
# in the first slot of MCUboot's image, behind its header of 512 bytes
BEHIND_MCUBOOT = ("BOARD=nrf52840", "FLASH_BASE=0xc200", "FLASH_SIZE=0x73e00")
TWICE = "press its reset button twice: its bootloader then shows up as a drive and a serial port"

PLANS: Mapping[str, Mapping[str, Plan]] = {
    "microbit": {
        "pyocd": _pyocd("nrf51", "BOARD=microbit"),
        "openocd": _openocd("cmsis-dap", "nrf51", "BOARD=microbit"),
    },
    "microbit-boot": {
        "stm32flash": Plan(
            (
                (
                    "stm32flash", "-m", "8n1", "-b", "115200", "-w", "{bin}", "-v",
                    "-g", "0x08000000", "{port}",
                ),
            ),
            STM32FLASH,
            ("BOARD=microbit", "BOOT=1"),
            "press its reset button: its bootloader answers for half a second",
            models=False,
        ),
    },
    "nrf52832": _nrf52("nrf52832"),
    "nrf52840": {
        **_nrf52("nrf52840"),
        "uf2": Plan(UF2_COPY, "", BEHIND_UF2, TWICE, family=0xADA52840),
        "dfu": Plan(
            (
                (
                    "adafruit-nrfutil", "dfu", "genpkg", "--dev-type", "0x0052",
                    "--application", "{hex}", "{made}.zip",
                ),
                (
                    "adafruit-nrfutil", "dfu", "serial", "--package", "{made}.zip",
                    "--port", "{port}", "--baudrate", "115200", "--singlebank",
                ),
            ),
            PIP.format("adafruit-nrfutil"),
            BEHIND_UF2,
            TWICE,
            failure="Failed to upgrade target",
        ),
        "mcuboot": Plan(
            (
                (
                    "imgtool", "sign", "--header-size", "0x200", "--pad-header", "--align", "4",
                    "--slot-size", "0x74000", "--version", "0.1.0", "--key={boot_key}",
                    "{firmware}", "{made}.hex",
                ),
                ("pyocd", "load", "--no-wait", "--target", "nrf52840", "{made}.hex"),
                ("pyocd", "load", "--no-wait", "--target", "nrf52840", "{store}"),
            ),
            PIP.format("imgtool pyocd"),
            BEHIND_MCUBOOT,
        ),
    },
    "stm32f405": _stm32("stm32f405", "stm32f4x", "stm32f405rg"),
    "stm32l476": _stm32("stm32l476", "stm32l4x", "stm32l476rg"),
    "rp2040": {
        "uf2": Plan(
            UF2_COPY, "", ("BOARD=rp2040",),
            "hold its BOOTSEL button while it is plugged in: it then shows up as a drive",
            family=0xE48BFF56,
        ),
        "openocd": _openocd("cmsis-dap", "rp2040", "BOARD=rp2040"),
        "pyocd": _pyocd("rp2040", "BOARD=rp2040"),
    },
    "esp32c3": {
        "esptool": Plan(
            (("esptool", "--chip", "esp32c3", "--port", "{port}", "write-flash", "0x0", "{bin}"),),
            ESPTOOL,
            ("BOARD=esp32c3",),
        ),
    },
}  # fmt: skip


def plan_of(board: str, tool: str = "") -> Plan:
    """The plan of a board with a tool; "": its first.

    Raises:
        MissingError: there is none.
    """
    from edgesnn.errors import MissingError

    if board not in PLANS:
        raise MissingError(
            f"there is no plan to flash a board called '{board}': there is {', '.join(PLANS)}"
        )
    plans = PLANS[board]
    if tool and tool not in plans:
        raise MissingError(f"{board} is not flashed with {tool}: give --tool {' or '.join(plans)}")
    return plans[tool or next(iter(plans))]


def build(folder: str, arguments: Sequence[str], key: Path | None) -> Path:
    """Build the firmware of a board from the source tree into a folder of build; its .elf.

    Raises:
        MissingError: this is no source tree, or what builds is missing.
    """
    from edgesnn.errors import MissingError

    source = ROOT / "firmware"
    if not (source / "Makefile").is_file():
        raise MissingError(
            "firmware is built from the source tree of edgesnn, which is not here: name a prebuilt "
            "one with --image"
        )
    out = ROOT / "build" / "firmware" / (folder if key is None else f"{folder}-{key.stem}")
    command = ["make", "-C", str(source), *arguments, f"OUT={out}"]
    if key is not None:
        command.append(f"KEY={key.resolve()}")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise MissingError(f"the firmware in {folder} does not build: {said[-1]}")
    return out / "edgesnn.elf"


def write_images(image: Path, plan: Plan, model: Path | None, key: Path | None) -> None:
    """Write the files that the commands of a plan name (`values_of`), all of them or none.

    Args:
        image: the firmware (.elf).
        plan: that the files are for.
        model: to be in the flash from the first start on; None: none.
        key: the private key that signs it; None: that of development builds.

    Raises:
        MissingError, FormatError, ModelError: as of `read_firmware` and `signed_for`; the firmware
            is for another board or another tool.
    """
    from edgesnn.devices import firmware
    from edgesnn.errors import MissingError

    known = firmware.read_firmware(image)
    _check_place(image, known, plan)
    values = values_of(image, model=model is not None)
    parts = {"firmware": known.image}
    whole = known.image
    if model is not None:
        parts["store"] = firmware.store_image(known, firmware.signed_for(known, model, key))
        whole = firmware.read_firmware(image).image
        whole.merge(parts["store"], overlap="error")
    whole.padding = 0xFF
    written = []
    try:
        for name, path in values.items():
            if not isinstance(path, Path) or not plan.needs(name) or name == "made":
                continue
            written.append(path)
            if name == "uf2":
                path.write_bytes(firmware.uf2(whole, plan.family))
            elif name == "bin":
                path.write_bytes(whole.tobinstr())
            else:
                parts.get(name, whole).write_hex_file(str(path), byte_count=32)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise MissingError(
            f"cannot write to {image.parent}: {error.strerror}; copy the image elsewhere"
        ) from None


def _check_place(image: Path, known: Firmware, plan: Plan) -> None:
    from edgesnn.errors import MissingError

    if known.board != plan.board:
        raise MissingError(
            f"{image} is firmware for {known.board}, not for {plan.board}: give that board or "
            "another image"
        )
    start = known.image.minaddr()
    elsewhere = {other.start for plans in PLANS.values() for other in plans.values()} - {None}
    if start != plan.start if plan.start is not None else start in elsewhere:
        raise MissingError(
            f"{image} is linked for another tool than this, from {start:#x} on: give the --tool "
            f"that it is for, or build with `make -C firmware {' '.join(plan.build)} OUT=...`"
        )


def find_drive() -> Path:
    """The drive that a bootloader shows up as.

    Raises:
        MissingError: there is none, or more than one.
    """
    from edgesnn.errors import MissingError

    places = (place for root in DRIVES for place in (Path(root).glob("*"), Path(root).glob("*/*")))
    found = sorted({path for paths in places for path in paths if (path / DRIVE_MARK).is_file()})
    if len(found) != 1:
        what = "more than one drive" if found else "no drive"
        raise MissingError(
            f"{what} of a bootloader is here: name the one that has {DRIVE_MARK} with --drive"
        )
    return found[0]


def find_tool(name: str) -> str | None:
    """Path of a program: any, or one beside this Python; None if there is none."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


@click.command()
@click.option("--board", required=True, help=f"One of {', '.join(PLANS)}.")
@click.option("--model", type=PATH, help="A model that the board then runs from its first start.")
@click.option("--tool", default="", help="What writes it; default: the board's first.")
@click.option("--port", default="", help="Serial port, where the board is flashed over one.")
@click.option("--drive", type=PATH, help="Drive of the bootloader; default: the only one there.")
@click.option("--image", type=PATH, help="A prebuilt firmware, its .elf.")
@click.option("--key", type=PATH, help="Header of `edgesnn keys`: take only models signed for it.")
@click.option("--boot-key", type=PATH, help="Key that MCUboot checks firmware with (.pem).")
@click.option("--dry-run", is_flag=True, help="Make the files, and show what would be run.")
def flash(
    board: str, model: Path | None, tool: str, port: str, drive: Path | None, image: Path | None,
    key: Path | None, boot_key: Path | None, dry_run: bool,
) -> None:  # fmt: skip
    """Build the firmware of a board and write it, with the tool made for that board."""
    from edgesnn.errors import DeviceError, MissingError

    plan = plan_of(board, tool)
    if plan.needs("port") and not port:
        raise MissingError(f"{board} is flashed over a serial port: name it with --port")
    for path in (image, boot_key):
        if path is not None and not path.is_file():
            raise MissingError(f"there is no file {path}: check the path")
    if model is not None and not plan.models:
        raise MissingError(
            f"the bootloader of {board} writes firmware alone: send the model afterwards, with "
            "`edgesnn update`"
        )
    programs = {name: find_tool(name) for name in plan.tools}
    for name, program in programs.items():
        if program is None and not dry_run:
            raise MissingError(f"{board} is flashed with {name}, which is missing: get {plan.get}")
    if plan.needs("drive"):
        drive = Path(f"/media/{board}") if dry_run and drive is None else drive or find_drive()
        if not dry_run and not (drive / DRIVE_MARK).is_file():
            raise MissingError(f"{drive} is no drive of a bootloader: it has no {DRIVE_MARK}")
    if image is None:
        image = build(f"{board}-{tool}" if tool else board, plan.build, key)
    write_images(image, plan, model, _private(key))
    if plan.before:
        click.echo(plan.before, err=True)
    values = values_of(image, model is not None, port=port, drive=drive, boot_key=boot_key)
    for line in plan.command_lines(values):
        click.echo(shlex.join(line))
        if not dry_run and not _succeeds([programs[line[0]] or "", *line[1:]], plan.failure):
            raise DeviceError(
                f"{line[0]} could not write the firmware to {board}: see what it said, check that "
                "the board is plugged in and start over"
            )


def _succeeds(command: Sequence[str], failure: str) -> bool:
    """Run a command, whose output is shown while it comes, and look for words of failure in it."""
    if not failure:
        return subprocess.run(command).returncode == 0
    failed = False
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            click.echo(line, nl=False)
            failed |= failure in line
    return process.returncode == 0 and not failed


def _private(key: Path | None) -> Path | None:
    """The private half, which `edgesnn keys` wrote beside its header."""
    return None if key is None else key.with_suffix("")
