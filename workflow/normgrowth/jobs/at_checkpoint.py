"""Jobs at a checkpoint: a model after some edits of a run, and what it is measured on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from normgrowth.errors import StudyError
from normgrowth.io.digests import safetensors_header, stated_digest
from normgrowth.io.provenance import file_sha256, provenance
from normgrowth.jobs.job import Intact, from_json
from normgrowth.jobs.on_run import OnRun
from normgrowth.layout import STATE_FILE, segment_folder
from normgrowth.measure.measure_settings import Measure

if TYPE_CHECKING:
    from normgrowth.measure.material import Material
    from normgrowth.runs.segment import Run


class AtCheckpoint(OnRun):
    """A checkpoint of a run."""

    step: int = Field(description="edits applied; 0 is the unedited model")
    chain: Path | None = Field(None, description="folder of the run whose states lead to the step")
    segments: int = Field(0, description="segments that lead to the step")

    def run(self) -> "Run":
        """The run with the inputs that decided its edits, the editor's own aside."""
        # torch: kept out of planning and of --help
        from normgrowth.runs.segment import Run

        return Run(self.study, self.model_name, self.editor_name, self.order, self.inputs)

    def run_folder(self) -> Path:
        """The folder of the run.

        Raises:
            StudyError: when segments lead to the step and no folder is named.
        """
        if self.chain is None:
            raise StudyError(f"--segments is {self.segments}: name the folder that holds them as --chain")
        return self.chain

    def digest_of_state(self) -> str | None:
        """Digest inside the state file that the checkpoint stands after; None for the unedited model."""
        if not self.segments:
            return None
        return stated_digest(segment_folder(self.run_folder(), self.segments) / STATE_FILE, safetensors_header)


class Measuring(AtCheckpoint):
    """A checkpoint and the text that its probes are cut from."""

    text: Intact = Field(description="text that probes are cut from")
    settings: Annotated[Measure, from_json(Measure)] = Field(description="what to measure, as JSON")

    def material(self, run: "Run", heldout: Path | None = None) -> tuple["Material", dict[str, Any]]:
        """The material that the checkpoint is measured on, and the metadata of files made from it.

        Args:
            run: the return value of `run`.
            heldout: text for perplexity, where that is measured.
        """
        # torch: kept out of planning and of --help
        from normgrowth.measure.material import Material
        from normgrowth.sources.loading import pick_device

        facts, order = self.facts_and_order()
        metadata = provenance(
            **run.identity,
            **run.fixed,
            step=self.step,
            measure=self.settings.model_dump(mode="json", exclude_unset=True),  # only keys that were given
            text=file_sha256(self.text),
            heldout=file_sha256(heldout) if heldout else None,
            device=pick_device(self.device),
            dtype="float32",
        )
        return Material(facts, order, self.text, heldout, self.seed, self.settings), metadata
