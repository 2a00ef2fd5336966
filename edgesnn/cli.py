"""The command line: the commands that need no board here, every other one from a plug-in.

A plug-in command is a click command in the entry-point group `edgesnn.commands`.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgesnn.errors import EdgesnnError, FormatError, MissingError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from rich.table import Table

    from edgesnn.blob import Model
    from edgesnn.graph import Graph
    from edgesnn.network import Conversion, FidelityReport, Network, WidthCost
    from edgesnn.recordings import Fitted
    from edgesnn.reference import Outputs

COMMANDS = "edgesnn.commands"
BACKENDS = "edgesnn.backends"
PATH = click.Path(path_type=Path)


def recording_options(name: str, *, required: bool = True) -> Callable[[Any], Any]:
    """The options that name recordings; the command gets the argument `given`, a `Given`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @click.option(
            name,
            "path",
            type=PATH,
            required=required,
            help="Recordings, by file ending: .npy (samples, steps, channels), .npz, .csv, .wav, "
            ".ts, .arff, or WISDM's .txt; in the sensor's physical units, or spikes.",
        )
        @click.option("--steps", type=click.IntRange(1), help="Cut them into pieces of that many.")
        @click.option("--units", default="", help="What they are in, where the file does not say.")
        @click.option("--recorded-at", type=float, help="Samples a second, where it does not say.")
        @click.option("--resample", is_flag=True, help="To the rate that the model takes.")
        @functools.wraps(command)
        def with_recordings(
            *,
            path: Path | None,
            steps: int | None,
            units: str,
            recorded_at: float | None,
            resample: bool,
            **rest: Any,
        ) -> None:
            given = Given(path, steps, tuple(filter(None, units.split(","))), recorded_at, resample)
            command(given=given, **rest)

        return with_recordings

    return decorate  # fmt: skip


@dataclass(frozen=True)
class Given:
    """Recordings as the options of a command name them."""

    path: Path | None
    steps: int | None
    units: tuple[str, ...]
    recorded_hz: float | None
    resample: bool

    def load(self, units: tuple[str, ...], step_us: int) -> Fitted:
        """Read them and make them fit a model; what was done to them is said on stderr.

        Args:
            units: of the model's input, () where it does not say.
            step_us: from frame to frame of the model, µs; 0 where it does not say.

        Raises:
            MissingError: no such file or reader.
            FormatError: the file is damaged, or does not fit.
        """
        from edgesnn.recordings import Wanted, fit, read

        assert self.path is not None
        wanted = Wanted(self.steps, self.units, self.recorded_hz, self.resample)
        fitted = fit(self.path, read(self.path), wanted, units=units, step_us=step_us)
        for line in fitted.said:
            click.echo(line, err=True)
        return fitted

    def load_for(self, graph: Graph) -> Fitted:
        """Read them and make them fit a graph; see `load`."""
        return self.load(getattr(graph.input, "units", ()), graph.step_us)


class PluginGroup(click.Group):
    """A click group whose further commands come from entry points, loaded when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Our own commands and the plug-ins'."""
        return sorted(
            {*super().list_commands(ctx), *(e.name for e in entry_points(group=COMMANDS))}
        )

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, None where there is none."""
        for entry in entry_points(group=COMMANDS, name=cmd_name):
            try:
                command: click.Command = entry.load()
            except ImportError as error:  # one broken plug-in must not take the others along
                click.echo(f"edgesnn: command '{cmd_name}' cannot be loaded: {error}", err=True)
                return None
            return command
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a user's mistake is one line on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except EdgesnnError as error:
            click.echo(f"edgesnn: {error}", err=True)
            ctx.exit(error.exit_code)


@click.group(cls=PluginGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgesnn")
def main() -> None:
    """Trained spiking networks on microcontrollers and watches, bit for bit as in Python.

    Exit codes: 0 done; 1 something disagrees with the reference; 2 a mistake in what was given;
    3 a board or link failed.
    """


@main.command()
@click.argument("checkpoint", type=PATH)
@click.option("-o", "--output", type=PATH, help="The .esnn file; default: beside the checkpoint.")
@click.option("--source", help="Kind of checkpoint; default: recognised from the file.")
@recording_options("--calibrate", required=False)
@click.option("--labels", type=PATH, help="Their labels (samples), .npy: also report accuracy.")
@click.option(
    "--input-kind",
    type=click.Choice(["analog", "spikes"]),
    help="What enters, where the checkpoint does not say; default: as the recordings look.",
)
@click.option("--profile", help="Whose semantics it has, where its format leaves them open.")
@click.option(
    "--describe",
    type=PATH,
    help="JSON file of what the checkpoint leaves out.",
)
@click.option(
    "--spikes",
    type=click.IntRange(1),
    help="Make a ReLU network spike: over so many steps a frame, balanced on the recordings.",
)
@click.option(
    "--bits",
    multiple=True,
    help="Width of the weights: 16, 8, 4 or 2 (ternary), or LAYER=WIDTH, as often as needed.",
)
@click.option(
    "--auto",
    type=click.FloatRange(0, 1),
    help="Choose widths for the smallest image with this share of the float network's labels.",
)
@click.option(
    "--early",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    help="Decide answers before the end, where that loses at most so much accuracy on them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the fidelity report as JSON.")
def convert(
    checkpoint: Path,
    output: Path | None,
    source: str | None,
    given: Given,
    labels: Path | None,
    input_kind: str | None,
    profile: str | None,
    describe: Path | None,
    spikes: int | None,
    bits: tuple[str, ...],
    auto: float | None,
    early: float | None,
    as_json: bool,
) -> None:
    """Turn a trained network into an integer model, and prove what was kept."""
    from dataclasses import replace

    from edgesnn import blob
    from edgesnn.network import InputKind, Network
    from edgesnn.quantize import quantize
    from edgesnn.sources import Options, read_description, read_source, source_of
    from edgesnn.terminal import progress_bar

    description = {} if describe is None else read_description(describe)
    options = Options(profile, description)
    made = read_source(checkpoint, source, options)
    classes: tuple[str, ...] = ()
    if isinstance(made, Network):
        network, classes = made, made.classes
        if input_kind is not None:
            network = replace(network, input_kind=InputKind(input_kind))
        recordings = given.load(network.units, network.step_us) if given.path else None
        signal = None if recordings is None else recordings.signal
        tried: tuple[WidthCost, ...] = ()
        balanced = None
        if spikes is not None:
            from edgesnn.balance import measured, spiking

            if signal is None:
                raise MissingError("--spikes balances thresholds: give recordings with --calibrate")
            balanced = spiking(network, signal, spikes)
            network, signal = balanced.network, balanced.signal
        if auto is not None:
            network, tried = _chosen_widths(network, signal, auto, bits)
        elif bits:
            from edgesnn.widths import with_bits

            network = with_bits(network, parse_bits(bits))
        total = 0 if signal is None else 2 * signal.shape[0] * signal.shape[1]
        with progress_bar("calibrating", total) as advance:
            conversion = quantize(network, signal, advance)
        conversion = replace(conversion, report=replace(conversion.report, widths=tried))
        if balanced is not None:
            conversion = measured(conversion, balanced)
    else:
        conversion = made
        if bits or auto is not None or spikes is not None:
            raise FormatError(
                f"{checkpoint} is integer already: leave --bits, --auto and --spikes out"
            )
        if input_kind is not None:
            raise FormatError(
                f"{checkpoint} is integer already and says what enters it: leave --input-kind out"
            )
        recordings = given.load_for(conversion.graph) if given.path else None
        original = source_of(checkpoint, source).original
        if recordings is not None and original is not None:
            conversion = beside_original(
                conversion, recordings.signal, lambda x: original(checkpoint, x, options)
            )
    expected = None if recordings is None else expected_labels(labels, recordings, classes)
    said = None
    if early is not None:
        conversion, said = _with_margin(conversion, recordings, expected, early)
    output = output or checkpoint.with_suffix(".esnn")
    notes = {"classes": list(classes), "report": conversion.report.as_json()}
    blob.save(output, conversion.graph, notes)
    if as_json:
        click.echo(json.dumps(conversion.report.as_json(), indent=2))
    else:
        print_report(conversion.report)
        click.echo(f"wrote {output}")
    if said is not None:
        click.echo(said, err=as_json)
    if recordings is not None and expected is not None:
        from edgesnn import runtime

        outputs = runtime.run(
            blob.pack_image(conversion.graph),
            conversion.graph.input.quantize(recordings.signal),
            digests=False,
        )
        accuracy = float((outputs.labels == expected).mean())
        click.echo(f"accuracy on these recordings {accuracy:.4f}", err=as_json)


def _with_margin(
    conversion: Conversion,
    recordings: Fitted | None,
    expected: npt.NDArray[np.int64] | None,
    points: float,
) -> tuple[Conversion, str]:
    """The conversion with a margin, and what that does on the recordings."""
    from dataclasses import replace

    from edgesnn.early import with_margin

    if recordings is None or expected is None:
        raise MissingError(
            "--early chooses how sure an answer must be: give recordings with --calibrate, "
            "and their labels with --labels"
        )
    frames = conversion.graph.input.quantize(recordings.signal)
    graph, early = with_margin(conversion.graph, frames, expected, points / 100)
    return replace(conversion, graph=graph), (
        f"answers are decided {early.margin:,} above all others: after {early.steps:.0%} of the "
        f"steps on these recordings, accuracy {early.early_accuracy:.4f} instead of "
        f"{early.accuracy:.4f}"
    )


def beside_original(
    conversion: Conversion,
    signal: npt.NDArray[Any],
    original: Callable[[npt.NDArray[Any]], npt.NDArray[np.int64]],
) -> Conversion:
    """The conversion with its labels held against the original's, where that can be run here."""
    from dataclasses import replace

    from edgesnn import blob, runtime

    try:
        expected = original(signal)
    except MissingError as error:
        said = f"the original was not run beside it: {error}"
        remarks = (*conversion.report.remarks, said)
        return replace(conversion, report=replace(conversion.report, remarks=remarks))
    frames = conversion.graph.input.quantize(signal)
    outputs = runtime.run(blob.pack_image(conversion.graph), frames, digests=False)
    report = replace(
        conversion.report,
        label_agreement=float((outputs.labels == expected).mean()),
        calibration_samples=len(expected),
    )
    return replace(conversion, report=report)


def parse_bits(given: tuple[str, ...]) -> dict[str, int]:
    """`--bits` as bits by layer, "" for all others.

    Raises:
        FormatError: one is no width, or no LAYER=WIDTH.
    """
    asked = {}
    for one in given:
        layer, _, width = one.rpartition("=")
        width = {"ternary": "2"}.get(width, width)
        if width not in ("16", "8", "4", "2"):
            raise FormatError(f"--bits {one} is no width: give 16, 8, 4, 2 or ternary, or LAYER=4")
        asked[layer] = int(width)
    return asked


def _chosen_widths(
    network: Network, signal: npt.NDArray[Any] | None, target: float, bits: tuple[str, ...]
) -> tuple[Network, tuple[WidthCost, ...]]:
    from edgesnn.terminal import progress_bar
    from edgesnn.widths import chosen, trials

    if signal is None:
        raise MissingError("--auto measures what widths cost: give recordings with --calibrate")
    if bits:
        raise FormatError("--auto chooses the widths: leave --bits out")
    with progress_bar("trying widths", trials(network)) as advance:
        return chosen(network, signal, target, advance)


@main.command()
@click.argument("model", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def inspect(model: Path, as_json: bool) -> None:
    """Show the operations of a model, its flash, its RAM and what a step can cost at worst."""
    from edgesnn import blob
    from edgesnn.inspection import describe, table

    loaded = blob.load(model)
    description = describe(loaded)
    if as_json:
        click.echo(json.dumps(description, indent=2))
        return
    click.echo(table(description))


@main.command()
@click.argument("models", type=PATH, nargs=-1, required=True)
@click.option("-o", "--output", type=PATH, required=True, help="The C file.")
def operations(models: tuple[Path, ...], output: Path) -> None:
    """Write the table of the operations that models use, for a build with no others.

    It takes the place of firmware/core/esnn_operations.c: `make -C firmware OPERATIONS=FILE
    OUT=FOLDER`. The build refuses models that need another operation.
    """
    from edgesnn import blob
    from edgesnn.operations import table

    images = [blob.load(model).image for model in models]
    output.write_text(table(images, [model.name for model in models]), encoding="utf-8")
    click.echo(f"wrote {output}")


@main.command()
@click.argument("model", type=PATH)
@recording_options("--input")
@click.option("--labels", type=PATH, help="Labels (samples), .npy: also print the accuracy.")
@click.option(
    "--backend",
    default="core",
    show_default=True,
    help=("reference, core, or a board: virtual, an emulated one, a port or URL."),
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def run(model: Path, given: Given, labels: Path | None, backend: str, as_json: bool) -> None:
    """Run recordings through a model, each from a reset."""
    from edgesnn import blob
    from edgesnn.terminal import progress_bar

    loaded = blob.load(model)
    recordings = given.load_for(loaded.graph)
    expected = expected_labels(labels, recordings, loaded.classes)
    frames = loaded.graph.input.quantize(recordings.signal)
    with progress_bar(f"running on {backend}", frames.shape[0] * frames.shape[1]) as advance:
        outputs = run_backend(backend, loaded, frames, advance)
    summary = summarize(loaded, outputs, expected, backend)
    click.echo(json.dumps(summary) if as_json else as_lines(summary))


def run_backend(name: str, model: Model, frames: npt.NDArray[np.int16], progress: Any) -> Outputs:
    """Run frames on the reference, the core, or a board from a plug-in.

    Raises:
        MissingError: no such backend.
    """
    if name == "reference":
        from edgesnn import reference

        return reference.run(model.graph, frames, progress)
    if name == "core":
        from edgesnn import runtime

        return runtime.run(model.image, frames, progress, digests=False)
    for entry in entry_points(group=BACKENDS, name="board"):
        outputs: Outputs = entry.load()(name, model, frames, progress)
        return outputs
    raise MissingError(f"no backend is called '{name}': there is reference and core")


def summarize(
    model: Model, outputs: Outputs, expected: npt.NDArray[np.int64] | None, backend: str
) -> dict[str, Any]:
    """What `run` prints, as JSON-able data."""
    samples = len(outputs.labels)
    summary: dict[str, Any] = {
        "backend": backend,
        "samples": samples,
        "predictions": [int(k) for k in outputs.labels],
        "classes": list(model.classes),
        "synops_per_sample": float(outputs.synops.mean()) if samples else 0.0,
        "macs_per_sample": float(outputs.macs.mean()) if samples else 0.0,
        "spikes_per_sample": float(outputs.spikes.mean()) if samples else 0.0,
    }
    if expected is not None:
        summary["accuracy"] = float((outputs.labels == expected).mean())
    if model.graph.margin > 0 and samples:
        summary["early_predictions"] = [int(k) for k in outputs.early_labels]
        summary["early_steps"] = outputs.early_steps
        if expected is not None:
            summary["early_accuracy"] = float((outputs.early_labels == expected).mean())
    return summary


def as_lines(summary: dict[str, Any]) -> str:
    """A summary for people: one fact a line, predictions by class."""
    classes = summary["classes"]
    counts = dict.fromkeys(classes, 0)
    for prediction in summary["predictions"]:
        counts[classes[prediction]] += 1
    lines = [f"{summary['samples']} samples on {summary['backend']}"]
    if "accuracy" in summary:
        lines.append(f"accuracy           {summary['accuracy']:.4f}")
    if "early_steps" in summary:
        decided = f"decided early      after {summary['early_steps']:.1%} of the steps"
        if "early_accuracy" in summary:
            decided += f", accuracy {summary['early_accuracy']:.4f}"
        lines.append(decided)
    lines += [
        "predictions        " + ", ".join(f"{name} {n}" for name, n in counts.items()),
        f"synaptic additions {summary['synops_per_sample']:,.0f} a sample",
        f"analog products    {summary['macs_per_sample']:,.0f} a sample",
        f"spikes             {summary['spikes_per_sample']:,.0f} a sample",
    ]
    return "\n".join(lines)


def expected_labels(
    path: Path | None, recordings: Fitted, classes: tuple[str, ...]
) -> npt.NDArray[np.int64] | None:
    """Labels (samples,) from a .npy file, else from the recordings.

    None where there is no file and the recordings have none, or one that is no class.

    Raises:
        MissingError: no such file.
        FormatError: not one whole number a sample.
    """
    import numpy as np

    if path is not None:
        return load_labels(path, len(recordings.signal))
    if not set(recordings.labels) <= set(classes):
        return None
    return np.array([classes.index(label) for label in recordings.labels], np.int64)


def load_labels(path: Path, samples: int) -> npt.NDArray[np.int64]:
    """Labels (samples,) from a .npy file.

    Raises:
        MissingError: no such file.
        FormatError: not one whole number a sample.
    """
    import numpy as np

    array = _load_npy(path)
    if array.shape != (samples,) or array.dtype.kind not in "biu":
        raise FormatError(
            f"{path} holds {array.dtype} of shape {array.shape}: give one whole number for each of "
            f"the {samples} samples"
        )
    return array.astype(np.int64)


def _load_npy(path: Path) -> npt.NDArray[Any]:
    import numpy as np

    if not path.is_file():
        raise MissingError(f"there is no file {path}: check the path")
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # of a damaged file, NumPy raises whatever its parsers do
        raise FormatError(f"{path} is not a .npy file ({error}): save it with numpy.save") from None
    if not isinstance(array, np.ndarray):
        raise FormatError(f"{path} is an archive of arrays: save the one array with numpy.save")
    return array


def print_report(report: FidelityReport) -> None:
    """The fidelity report for people, on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{report.source}, as in {report.profile}", title_justify="left")
    for heading in ("layer", "what", "verdict", "worst error", "why"):
        table.add_column(heading, overflow="fold")
    for layer in report.layers:
        error = f"{100 * layer.error:.3f} %" if layer.error else ""
        table.add_row(layer.layer, layer.what, layer.verdict.value, error, layer.reason)
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(table)
    if report.widths:
        console.print(_widths_table(report.widths))
    for remark in report.remarks:
        console.print(f"assumed: {remark}", highlight=False)
    exact = all(layer.verdict.value == "exact" for layer in report.layers)
    if report.label_agreement is None:
        if exact:
            console.print("every layer is exact: there is nothing to measure", highlight=False)
            return
        console.print("nothing was measured: give recordings with --calibrate", highlight=False)
        return
    spikes = ", ".join(f"{k} {100 * v:.2f} %" for k, v in report.spike_agreement.items())
    use = ", ".join(f"{k} {100 * v:.2f} %" for k, v in report.state_use.items())
    values = ", ".join(f"{k} {100 * v:.3f} %" for k, v in report.value_error.items())
    console.print(
        f"on {report.calibration_samples} recordings: same label as the original "
        f"{100 * report.label_agreement:.2f} %"
        + (f"\nsame spikes as the float network: {spikes}" if spikes else "")
        + (f"\nvalues off by: {values}" if values else "")
        + (f"\nlargest membrane, of what fits: {use}" if use else ""),
        highlight=False,
    )


def _widths_table(tried: tuple[WidthCost, ...]) -> Table:
    from rich.table import Table

    table = Table(title="what widths cost", title_justify="left")
    for heading in ("layer", "bits", "same label", "flash", ""):
        table.add_column(heading, justify="right" if heading not in ("layer", "") else "left")
    for row in tried:
        cost = f"{100 * row.label_agreement:.2f} %", f"{row.flash_bytes:,}"
        table.add_row(row.layer, str(row.bits), *cost, "kept" if row.chosen else "alone")
    return table


if __name__ == "__main__":
    main()
