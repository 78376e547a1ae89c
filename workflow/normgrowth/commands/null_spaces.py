"""Find the directions that text leaves almost unused, from second moments."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--model", required=True, type=Path, help="folder of the model that they are of")
    parser.add_argument("--layers", required=True, type=int, nargs="+", help="layers that they are of")
    parser.add_argument("--statistics", required=True, type=Path, help="second moments")
    parser.add_argument(
        "--threshold", type=float, help="eigenvalue below which directions are free (default: the mean)"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--out", required=True, type=Path, help="safetensors file to write")


def run(arguments: argparse.Namespace) -> None:
    """Decompose each layer's second moment and write the thinner side of its null space."""
    import torch

    from normgrowth.editors.moments import RELATIVE_THRESHOLD, SecondMoment, null_space
    from normgrowth.editors.settings import NULL_SPACES, SECOND_MOMENTS
    from normgrowth.io.identity import require
    from normgrowth.io.provenance import file_sha256, provenance
    from normgrowth.io.tensors import read_tensors, write_tensors
    from normgrowth.sources.manifest import revision

    torch.set_num_threads(arguments.threads)
    tensors, metadata = read_tensors(arguments.statistics, SECOND_MOMENTS)
    require(arguments.statistics, metadata, {"model": revision(arguments.model), "layers": arguments.layers})
    spaces = {
        layer: null_space(SecondMoment(tensors[f"moment.{layer}"], metadata["count"], layer), arguments.threshold)
        for layer in metadata["layers"]
    }
    for layer, space in spaces.items():
        width = len(space.basis)
        print(f"layer {layer}: {space.rank} of {width} directions may change", flush=True)
    write_tensors(
        arguments.out,
        {f"basis.{layer}": space.basis for layer, space in spaces.items()},
        provenance(
            model=metadata["model"],
            layers=metadata["layers"],
            seed=metadata["seed"],
            text=metadata["text"],
            statistics=file_sha256(arguments.statistics),
            threshold=arguments.threshold,
            relative_threshold=RELATIVE_THRESHOLD if arguments.threshold is None else None,
            rank={layer: space.rank for layer, space in spaces.items()},
            spans_range={layer: space.spans_range for layer, space in spaces.items()},
            mean_square={layer: space.mean_square for layer, space in spaces.items()},
            dtype="float64",
        ),
        NULL_SPACES,
    )
