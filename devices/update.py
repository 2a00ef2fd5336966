"""Models into the flash of a board: the commands `keys`, `sign` and `update`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesnn.devices.commands import JSON, PATH, _print, board_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgesnn.devices.board import Board
    from edgesnn.devices.protocol import Stored
    from edgesnn.devices.signing import Key, Update

KEY = click.option("--key", type=PATH, help="Private key; default: the one of development builds.")
VERSION = click.IntRange(0, 2**32 - 1)


@click.command()
@click.argument("name", type=PATH)
def keys(name: Path) -> None:
    """Make a pair of keys: NAME, private, signs models; NAME.h is built into a firmware."""
    from edgesnn.devices.signing import make_key

    _, header = make_key(name)
    click.echo(f"wrote {name}, which signs models and must stay secret, and {header}, for\n"
               f"make firmware BOARD=... KEY={header}")  # fmt: skip


@click.command()
@click.argument("model", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="The signed model; usual: .esup.")
@KEY
@click.option("--version", type=VERSION, required=True, help="A board refuses older ones.")
@click.option(
    "--replaces", type=VERSION, help="Newest version that it may replace; for downgrades."
)
@click.option("--for", "target", default="", help="The only board that it is for; default: any.")
def sign(
    model: Path, output: Path, key: Path | None, version: int, replaces: int | None, target: str
) -> None:
    """Sign a model, for whoever has no key to update boards with it."""
    from edgesnn import blob
    from edgesnn.devices.signing import make_update, read_key
    from edgesnn.errors import MissingError

    image = blob.load(model).image
    update = make_update(image, read_key(key), version, replaces=replaces, target=target)
    try:
        output.write_bytes(update.data)
    except OSError as error:
        output.unlink(missing_ok=True)
        raise MissingError(f"cannot write {output}: {error.strerror}") from None
    click.echo(f"wrote {output}")


@click.command()
@click.argument("model", type=PATH)
@board_options
@KEY
@click.option("--version", type=VERSION, help="Default: one more than the board's.")
@click.option("--allow-downgrade", is_flag=True, help="Also over a newer version.")
@JSON
def update(
    model: Path, board: str, key: Path | None, version: int | None, allow_downgrade: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Put a model into a board's flash, where it stays; a cut update goes on where it was.

    MODEL is an .esnn file, which is signed with the key, or a signed model. The board checks the
    signature, starts the model on trial, and is back with the one before unless this command finds
    it well.
    """
    from edgesnn.devices.backend import open_board
    from edgesnn.terminal import progress_bar

    with open_board(board, reconnect=True) as device:
        stored = _settled(device)
        signed = _signed(model, device, stored, key, version, allow_downgrade)
        if device.info.development:
            click.echo(
                f"{device.info.name} runs a development build: anyone can change its model",
                err=True,
            )
        sent = 0
        if not _runs(stored, signed):
            with progress_bar(f"model to {device.info.name}", len(signed.data)) as advance:
                sent = install(device, signed, stored.page, advance)
    _print(
        {"board": device.info.name, "version": signed.version, "bytes": len(signed.data),
         "bytes_sent": sent, "development": device.info.development}, as_json,
    )  # fmt: skip


def install(device: Board, signed: Update, page: int, progress: Callable[[int], None]) -> int:
    """Send an update, let the board try it, and confirm it; the bytes that were sent.

    Raises:
        ModelError: the board refuses it.
        DeviceError: the link failed, or the board does not start with it.
    """
    from edgesnn.errors import DeviceError

    there: list[int] = []

    def advance(by: int) -> None:
        there.append(by)
        progress(by)

    device.send_update(signed.data, page, advance)
    device.restart()
    if not _runs(device.stored(), signed):
        raise DeviceError(
            f"board {device.info.name} does not start with the new model and runs the one before: "
            "try the model on a virtual board"
        )
    device.selftest()
    device.confirm()
    return len(signed.data) - there[0]  # the first part was there before


def _settled(device: Board) -> Stored:
    """What the board has, once no model is on trial."""
    from edgesnn.errors import ModelError

    stored = device.stored()
    if stored is None:
        raise ModelError(
            f"board {device.info.name} keeps no models in flash: put the model on it with `stream`"
        )
    if stored.on_trial:
        device.restart()
        return _settled(device)
    return stored


def _signed(
    path: Path, device: Board, stored: Stored, key: Path | None, version: int | None,
    allow_downgrade: bool,
) -> Update:  # fmt: skip
    from edgesnn import blob
    from edgesnn.devices import signing
    from edgesnn.errors import MissingError, ModelError

    try:
        data = path.read_bytes()
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror}") from None
    if signing.is_update(data):
        if key or version is not None or allow_downgrade:
            raise ModelError(
                f"{path} is signed already: leave --key, --version and --allow-downgrade out"
            )
        return signing.read_update(data, str(path))
    image = blob.unpack(data, str(path)).image
    own = signing.read_key(key)
    _check_key(device, stored, own, key)
    newest = stored.version if stored.model is not None else 0
    if version is None:
        version = newest + (stored.model is None or not _same(stored, image))
    if version < newest and not allow_downgrade:
        raise ModelError(
            f"board {device.info.name} runs version {newest} and {path} would be {version}: give "
            "a higher --version, or --allow-downgrade"
        )
    return signing.make_update(image, own, version, replaces=max(version, newest))


def _check_key(device: Board, stored: Stored, own: Key, path: Path | None) -> None:
    from edgesnn.errors import ModelError

    if own.public != stored.key:
        what = "the key of development builds" if path is None else str(path)
        raise ModelError(
            f"board {device.info.name} does not take models that are signed with {what}: give the "
            "private key that its firmware was built for with --key"
        )


def _same(stored: Stored, image: bytes) -> bool:
    from edgesnn.devices.protocol import Slot

    return stored.model == Slot.of(image)


def _runs(stored: Stored | None, signed: Update) -> bool:
    return stored is not None and _same(stored, signed.image) and (stored.version == signed.version)
