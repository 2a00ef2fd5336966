"""Hardware in the loop: a modelled blimp flies here, its controller on a board, in step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgesnn.blimp.controllers import Genome, model
from edgesnn.blimp.task import Flight, Role, Task, Track
from edgesnn.devices.board import Board
from edgesnn.errors import DeviceError


def fly_in_loop(
    board: Board, genome: Genome, task: Task, track: Track, slot: int | None = None
) -> npt.NDArray[np.int32]:
    """Fly a window tick by tick: an error goes to the board, a command comes back.

    Args:
        board: that is to fly.
        genome: of the controller.
        task, track: what is flown, as of `Flight`.
        slot: of the board, in which this very controller is already; None: it is sent.

    Returns:
        (ticks, 2): the error [cm] and the board's answer [1/256] of every tick.

    Raises:
        ModelError: the board refuses the controller, or holds another one in the slot.
        DeviceError: the link failed.
    """
    controller = model(genome)
    if slot is None:
        board.put_model(controller)
    else:
        board.select(slot, controller)
    flight = Flight(task, track, Role.TEST, 0)
    flown = np.zeros((task.ticks, 2), np.int32)
    for tick in range(task.ticks):
        error = flight.observe()
        (answer,) = board.stream(np.array([[error]], np.int16))
        if answer.result is None:
            raise DeviceError(f"the answer to tick {tick} was lost: check the link")
        command = int(answer.result.scores[0])
        flight.answer(command)
        flown[tick] = error, command
    return flown
