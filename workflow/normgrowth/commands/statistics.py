"""Gather second moments of MLP keys, or of gradients at MLP outputs, over running text."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from normgrowth.errors import ArtefactError
from normgrowth.io.provenance import file_sha256, provenance
from normgrowth.jobs.job import Intact
from normgrowth.jobs.on_model import OnModel
from normgrowth.progress import Progress
from normgrowth.sources.manifest import revision

if TYPE_CHECKING:
    from normgrowth.editors.moments import Sums

ROWS_PER_BATCH = 32
SUMS = "sums of second moments"
SECONDS_BETWEEN_COPIES = 120.0
"""Seconds between two checkpoints of the sums: the most work that a killed job loses."""


class Statistics(OnModel):
    """A model's layers, and the text that their second moments are gathered over."""

    text: Intact = Field(description="text file, documents separated by blank lines")
    layers: tuple[int, ...] = Field(description="layers, all gathered in one pass")
    tokens: int = Field(description="tokens to gather from")
    window: int = Field(description="tokens in one window of text")
    seed: int = Field(description="seed of the study")
    of: Literal["keys", "gradients"] = Field("keys", description="vectors: MLP keys, or gradients at MLP outputs")
    out: Path = Field(description="safetensors file to write")


def run(job: Statistics) -> None:
    """Run the model up to the topmost layer over packed text and write each layer's second moment.

    The sums so far are saved beside the output at intervals; a restarted job continues from them.
    """
    # torch: kept out of planning and of --help
    from normgrowth.editors.moments import Sums, gather_second_moments, vectors_in
    from normgrowth.editors.settings import GRADIENT_MOMENTS, SECOND_MOMENTS
    from normgrowth.io.tensors import write_tensors
    from normgrowth.lm.prompt_lengths import require_windows
    from normgrowth.sources.text import windows

    lm = job.load()
    require_windows(lm, {"second_moments.window": job.window})
    count = -(-job.tokens // job.window)
    metadata = provenance(
        model=revision(job.model),
        text=file_sha256(job.text),
        layers=list(job.layers),
        count=vectors_in(job.of, count, job.window),
        of=job.of,
        window=job.window,
        seed=job.seed,
        device=lm.device.type,
        dtype="float64",
    )
    batches = windows(job.text, lm.tokenizer, job.window, count, job.seed, "second moments")
    batches = batches.split(ROWS_PER_BATCH)
    partial = job.out.with_suffix(".partial")
    sums = _kept(partial, metadata, str(lm.device))
    with Progress(count, "second moments") as progress:
        progress.update(sums.batches * ROWS_PER_BATCH)
        copied = time.monotonic()

        def keep(sums: Sums) -> None:
            nonlocal copied
            progress.update(min(ROWS_PER_BATCH, count - progress.done))
            if time.monotonic() - copied > SECONDS_BETWEEN_COPIES:
                tensors = {f"sum.{layer}": total for layer, total in sums.by_layer.items()}
                write_tensors(partial, tensors, {**metadata, "seen": sums.count, "batches": sums.batches}, SUMS)
                copied = time.monotonic()

        moments = gather_second_moments(lm, batches[sums.batches :], list(job.layers), sums, keep, job.of)
    tensors = {f"moment.{layer}": moment.moment for layer, moment in moments.items()}
    write_tensors(job.out, tensors, metadata, SECOND_MOMENTS if job.of == "keys" else GRADIENT_MOMENTS)
    partial.unlink(missing_ok=True)


def _kept(partial: Path, metadata: Mapping[str, object], device: str) -> "Sums":
    """Sums that an earlier attempt at the same statistics left, or none."""
    # torch: kept out of planning and of --help
    from normgrowth.editors.moments import Sums
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
