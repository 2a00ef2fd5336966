"""Boards, real, emulated and virtual: recordings streamed to them, every frame's fate kept."""

from edgesnn.devices.asynchronous import AsyncBoard, open
from edgesnn.devices.backend import open_board
from edgesnn.devices.board import Answer, Board, Fate, Frame, Result, Source, StateLostError
from edgesnn.devices.session import Session, Stream
from edgesnn.devices.transport import Transport, open_transport

__all__ = [
    "Answer",
    "AsyncBoard",
    "Board",
    "Fate",
    "Frame",
    "Result",
    "Session",
    "Source",
    "StateLostError",
    "Stream",
    "Transport",
    "open",
    "open_board",
    "open_transport",
]
