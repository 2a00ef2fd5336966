"""Where networks come from: the plug-in interface of the converters."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesnn.errors import FormatError, MissingError
from edgesnn.network import Conversion, Network

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

GROUP = "edgesnn.converters"


@dataclass(frozen=True)
class Options:
    """What a file does not say of itself and its user does.

    Args:
        profile: whose semantics the file is to be read with, for formats that leave them open.
        description: what else there is to say (topology, neurons, time step), as JSON gives it.
    """

    profile: str | None = None
    description: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """One kind of checkpoint.

    Args:
        name: how it is called on the command line.
        describes: one line for people.
        recognises: whether a file looks like this kind; must not fail on any file.
        read: the file as a network, or, where it is integer already, as a graph with its report;
            raises `EdgesnnError`s only.
        profiles: what `Options.profile` may be; () where there is no choice.
        described: whether it reads `Options.description`.
        original: the labels (samples,) that the original's own runtime gives for recordings
            (samples, steps, channels), read with `Options`, for sources that are integer already;
            raises `MissingError` where that runtime is not installed.
    """

    name: str
    describes: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, Options], Network | Conversion]
    profiles: tuple[str, ...] = ()
    described: bool = False
    original: Callable[[Path, npt.NDArray[Any], Options], npt.NDArray[np.int64]] | None = None


def sources() -> dict[str, Source]:
    """Every installed source, by name."""
    return {entry.name: entry.load() for entry in entry_points(group=GROUP)}


def read_source(
    path: Path, name: str | None = None, options: Options | None = None
) -> Network | Conversion:
    """What is in a checkpoint, by the named source or by the first that recognises the file.

    Raises:
        MissingError: no such file or source.
        FormatError: no source recognises the file, it is damaged, or it leaves no such choice.
        ModelError: the network has a part that cannot be kept.
    """
    if not path.is_file():
        raise MissingError(f"there is no checkpoint {path}: check the path")
    return _read(source_of(path, name), path, options or Options())


def source_of(path: Path, name: str | None = None) -> Source:
    """The named source, or the first that recognises a file.

    Raises:
        MissingError: no such source.
        FormatError: no source recognises the file.
    """
    known = sources()
    if name is not None:
        if name not in known:
            raise MissingError(f"no source is called '{name}': there is {', '.join(sorted(known))}")
        return known[name]
    for source in known.values():
        if source.recognises(path):
            return source
    raise FormatError(
        f"{path} is no checkpoint of a known kind ({', '.join(sorted(known))}): "
        "name its kind with --source to see what is missing"
    )


def _read(source: Source, path: Path, options: Options) -> Network | Conversion:
    if options.profile is not None and options.profile not in source.profiles:
        choice = (
            f"choose {', '.join(source.profiles)}" if source.profiles else "leave --profile out"
        )
        raise FormatError(f"source '{source.name}' has no profile '{options.profile}': {choice}")
    if options.description and not source.described:
        raise FormatError(f"source '{source.name}' takes no description: leave --describe out")
    return source.read(path, options)


def read_network(path: Path, name: str | None = None, options: Options | None = None) -> Network:
    """As `read_source`, for sources of float networks.

    Raises:
        FormatError: the file is integer already.
        MissingError, ModelError: as `read_source`.
    """
    made = read_source(path, name, options)
    if not isinstance(made, Network):
        raise FormatError(f"{path} is integer already: there is no float network in it")
    return made


def read_description(path: Path) -> dict[str, Any]:
    """The JSON file that describes what a checkpoint leaves out.

    Raises:
        MissingError: no such file.
        FormatError: it holds no JSON object.
    """
    try:
        loaded = json.loads(path.read_text())
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no JSON ({error}): write an object of names") from None
    if not isinstance(loaded, dict):
        raise FormatError(f"{path} holds no JSON object: write names and values in braces")
    return loaded
