"""Where networks come from: the plug-in interface of the converters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from edgesnn.errors import FormatError, MissingError
from edgesnn.network import Network

GROUP = "edgesnn.converters"


@dataclass(frozen=True)
class Source:
    """One kind of checkpoint.

    Args:
        name: how it is called on the command line.
        describes: one line for people.
        recognises: whether a file looks like this kind; must not fail on any file.
        read: the file as a network; raises `EdgesnnError`s only.
    """

    name: str
    describes: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path], Network]


def sources() -> dict[str, Source]:
    """Every installed source, by name."""
    return {entry.name: entry.load() for entry in entry_points(group=GROUP)}


def read_network(path: Path, name: str | None = None) -> Network:
    """The network in a checkpoint, by the named source or by the first that recognises the file.

    Raises:
        MissingError: no such file or source.
        FormatError: no source recognises the file, or it is damaged.
        ModelError: the network has a part that cannot be kept.
    """
    if not path.is_file():
        raise MissingError(f"there is no checkpoint {path}: check the path")
    known = sources()
    if name is not None:
        if name not in known:
            raise MissingError(f"no source is called '{name}': there is {', '.join(sorted(known))}")
        return known[name].read(path)
    for source in known.values():
        if source.recognises(path):
            return source.read(path)
    raise FormatError(
        f"{path} is no checkpoint of a known kind ({', '.join(sorted(known))}): "
        "name its kind with --source to see what is missing"
    )
