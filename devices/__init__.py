"""Boards, real, emulated and virtual: recordings streamed to them, every frame's fate kept."""

from edgesnn.devices.backend import open_board
from edgesnn.devices.board import Answer, Board, Result
from edgesnn.devices.session import Fate, Session, Stream
from edgesnn.devices.transport import Transport, open_transport

__all__ = [
    "Answer",
    "Board",
    "Fate",
    "Result",
    "Session",
    "Stream",
    "Transport",
    "open_board",
    "open_transport",
]
