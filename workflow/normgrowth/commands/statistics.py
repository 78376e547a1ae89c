"""Gather second moments of MLP keys over running text."""

import argparse
from pathlib import Path

from normgrowth.commands.common import add_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model(parser)
    parser.add_argument("--text", required=True, type=Path, help="text file, documents separated by blank lines")
    parser.add_argument("--layers", required=True, type=int, nargs="+", help="layers, all gathered in one pass")
    parser.add_argument("--tokens", required=True, type=int, help="tokens to gather from")
    parser.add_argument("--window", required=True, type=int, help="tokens in one window of text")
    parser.add_argument("--seed", required=True, type=int, help="seed of the study")
    parser.add_argument("--out", required=True, type=Path, help="safetensors file to write")


def run(arguments: argparse.Namespace) -> None:
    """Run the model up to the topmost layer over packed text and write each layer's second moment."""
    from normgrowth.artefacts.provenance import file_sha256, provenance
    from normgrowth.artefacts.tensors import write_tensors
    from normgrowth.assets.models import revision
    from normgrowth.assets.text import windows
    from normgrowth.commands.common import load
    from normgrowth.editors.statistics import gather_second_moments
    from normgrowth.progress import Progress

    lm = load(arguments)
    count = -(-arguments.tokens // arguments.window)
    batches = windows(arguments.text, lm.tokenizer, arguments.window, count, arguments.seed, "second moments").split(32)
    with Progress(count, "second moments") as progress:

        def watched():
            for batch in batches:
                yield batch
                progress.update(len(batch))

        moments = gather_second_moments(lm, watched(), arguments.layers)
    write_tensors(
        arguments.out,
        {f"moment.{layer}": moment.moment for layer, moment in moments.items()},
        provenance(
            model=revision(arguments.model),
            text=file_sha256(arguments.text),
            layers=arguments.layers,
            count=count * arguments.window,
            window=arguments.window,
            seed=arguments.seed,
            device=lm.device.type,
            dtype="float64",
        ),
    )
