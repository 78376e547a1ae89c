"""Find the directions that text leaves almost unused, from second moments."""

from pathlib import Path

from pydantic import Field

from normgrowth.jobs.job import Job


class NullSpaces(Job):
    """Second moments, and the eigenvalue below which a direction counts as unused."""

    model: Path = Field(description="folder of the model that they are of")
    layers: tuple[int, ...] = Field(description="layers that they are of")
    statistics: Path = Field(description="second moments")
    threshold: float | None = Field(None, description="eigenvalue below which directions are free (default: the mean)")
    threads: int = Field(1, description="CPU threads")
    out: Path = Field(description="safetensors file to write")


def run(job: NullSpaces) -> None:
    """Decompose each layer's second moment and write the thinner side of its null space."""
    # torch: kept out of planning and of --help
    import torch

    from normgrowth.editors.moments import RELATIVE_THRESHOLD, SecondMoment, null_space
    from normgrowth.editors.settings import NULL_SPACES, SECOND_MOMENTS
    from normgrowth.io.identity import require
    from normgrowth.io.provenance import file_sha256, provenance
    from normgrowth.io.tensors import read_tensors, write_tensors
    from normgrowth.sources.manifest import revision

    torch.set_num_threads(job.threads)
    tensors, metadata = read_tensors(job.statistics, SECOND_MOMENTS)
    require(job.statistics, metadata, {"model": revision(job.model), "layers": list(job.layers)})
    spaces = {
        layer: null_space(SecondMoment(tensors[f"moment.{layer}"], metadata["count"], layer), job.threshold)
        for layer in metadata["layers"]
    }
    for layer, space in spaces.items():
        width = len(space.basis)
        print(f"layer {layer}: {space.rank} of {width} directions may change", flush=True)
    write_tensors(
        job.out,
        {f"basis.{layer}": space.basis for layer, space in spaces.items()},
        provenance(
            model=metadata["model"],
            layers=metadata["layers"],
            seed=metadata["seed"],
            text=metadata["text"],
            statistics=file_sha256(job.statistics),
            threshold=job.threshold,
            relative_threshold=RELATIVE_THRESHOLD if job.threshold is None else None,
            rank={layer: space.rank for layer, space in spaces.items()},
            spans_range={layer: space.spans_range for layer, space in spaces.items()},
            mean_square={layer: space.mean_square for layer, space in spaces.items()},
            dtype="float64",
        ),
        NULL_SPACES,
    )
