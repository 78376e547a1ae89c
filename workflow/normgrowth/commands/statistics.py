"""Gather second moments of MLP keys over running text."""

import argparse
import time
from pathlib import Path

from normgrowth.commands.common import add_model
from normgrowth.io.documents import intact

ROWS_PER_BATCH = 32
SUMS = "sums of second moments"
SECONDS_BETWEEN_COPIES = 120.0
"""Of the sums so far: what a killed job may lose."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model(parser)
    parser.add_argument("--text", required=True, type=intact, help="text file, documents separated by blank lines")
    parser.add_argument("--layers", required=True, type=int, nargs="+", help="layers, all gathered in one pass")
    parser.add_argument("--tokens", required=True, type=int, help="tokens to gather from")
    parser.add_argument("--window", required=True, type=int, help="tokens in one window of text")
    parser.add_argument("--seed", required=True, type=int, help="seed of the study")
    parser.add_argument("--out", required=True, type=Path, help="safetensors file to write")


def run(arguments: argparse.Namespace) -> None:
    """Run the model up to the topmost layer over packed text and write each layer's second moment.

    The sums so far are kept beside the output now and then; a job that was killed goes on from them.
    """
    from normgrowth.commands.common import load
    from normgrowth.editors.moments import gather_second_moments
    from normgrowth.editors.settings import SECOND_MOMENTS
    from normgrowth.io.provenance import file_sha256, provenance
    from normgrowth.io.tensors import write_tensors
    from normgrowth.lm.prompt_lengths import require_windows
    from normgrowth.progress import Progress
    from normgrowth.sources.manifest import revision
    from normgrowth.sources.text import windows

    lm = load(arguments)
    require_windows(lm, {"second_moments.window": arguments.window})
    count = -(-arguments.tokens // arguments.window)
    metadata = provenance(
        model=revision(arguments.model),
        text=file_sha256(arguments.text),
        layers=arguments.layers,
        count=count * arguments.window,
        window=arguments.window,
        seed=arguments.seed,
        device=lm.device.type,
        dtype="float64",
    )
    batches = windows(arguments.text, lm.tokenizer, arguments.window, count, arguments.seed, "second moments")
    batches = batches.split(ROWS_PER_BATCH)
    partial = arguments.out.with_suffix(".partial")
    sums = _kept(partial, metadata, str(lm.device))
    with Progress(count, "second moments") as progress:
        progress.update(sums.batches * ROWS_PER_BATCH)
        copied = time.monotonic()

        def keep(sums) -> None:
            nonlocal copied
            progress.update(min(ROWS_PER_BATCH, count - progress.done))
            if time.monotonic() - copied > SECONDS_BETWEEN_COPIES:
                tensors = {f"sum.{layer}": total for layer, total in sums.by_layer.items()}
                write_tensors(partial, tensors, {**metadata, "seen": sums.count, "batches": sums.batches}, SUMS)
                copied = time.monotonic()

        moments = gather_second_moments(lm, batches[sums.batches :], arguments.layers, sums, keep)
    tensors = {f"moment.{layer}": moment.moment for layer, moment in moments.items()}
    write_tensors(arguments.out, tensors, metadata, SECOND_MOMENTS)
    partial.unlink(missing_ok=True)


def _kept(partial: Path, metadata: dict, device: str):
    """Sums that an earlier attempt at the same statistics left, or none."""
    from normgrowth.editors.moments import Sums
    from normgrowth.errors import ArtefactError
    from normgrowth.io.tensors import read_tensors

    if not partial.exists():
        return Sums()
    try:
        tensors, found = read_tensors(partial, SUMS, device)
    except ArtefactError as error:
        print(f"{error}; the sums are begun anew", flush=True)
        return Sums()
    if any(found.get(name) != value for name, value in metadata.items()):
        return Sums()
    by_layer = {int(name.removeprefix("sum.")): total for name, total in tensors.items()}
    return Sums(by_layer, found["seen"], found["batches"])
