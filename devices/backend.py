"""Boards by name, and as a backend of `edgesnn run`."""

from __future__ import annotations

from functools import partial

from edgesnn import blob
from edgesnn.devices.board import Board
from edgesnn.devices.qemu import BOARDS
from edgesnn.devices.session import Stream
from edgesnn.devices.transport import open_transport
from edgesnn.errors import DeviceError, MissingError
from edgesnn.graph import Int16Array
from edgesnn.reference import Outputs, Progress

END_WITH_THEIR_LINK = ("virtual:", "qemu:", "session:")


def board_url(name: str) -> str:
    """The URL behind `virtual`, the name of an emulated board, a port, or a URL itself.

    Raises:
        MissingError: it is none of these.
    """
    if name == "virtual":
        return "virtual://"
    if name in BOARDS:
        return f"qemu://{name}"
    if "/" in name or ":" in name or name.upper().startswith("COM"):
        return name
    known = ", ".join(["virtual", *BOARDS])
    raise MissingError(f"no board is called '{name}': there is {known}, or give a port or URL")


def open_board(name: str, *, reconnect: bool = False) -> Board:
    """The board of that name, port or URL, ready to be talked to.

    Args:
        name: as of `board_url`.
        reconnect: where the link fails in the middle of a stream, open it again and go on, if the
            board has kept its state. Boards that end with their link are not opened again.

    Raises:
        MissingError: there is none.
        DeviceError: it does not answer.
    """
    url = board_url(name)
    transport = open_transport(url)
    ends = url.startswith(END_WITH_THEIR_LINK)
    try:
        return Board(transport, partial(open_transport, url) if reconnect and not ends else None)
    except BaseException:
        transport.close()
        raise


def board_backend(
    name: str, model: blob.Model, frames: Int16Array, progress: Progress = lambda frames: None
) -> Outputs:
    """Run recordings (samples, steps, input size) int16 on a board.

    Raises:
        MissingError: there is no such board.
        ModelError: the board refuses the model.
        DeviceError: the link failed, or a frame was lost.
    """
    with open_board(name) as board:
        board.put_model(model)
        session = Stream(board, frames).run(progress)
    if session.lost:
        raise DeviceError(
            f"board {name} lost {len(session.lost)} frames, the first is step "
            f"{session.lost[0][1]} of sample {session.lost[0][0]}: check the link and run again"
        )
    return session.outputs
