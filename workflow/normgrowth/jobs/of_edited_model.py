"""Jobs of an edited model: a run of a study that was made in the working directory, and how far to follow it."""

import os
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from normgrowth.checked import Count
from normgrowth.jobs.job import Job, Positional
from normgrowth.jobs.on_model import OnModel

if TYPE_CHECKING:
    from normgrowth.lm.model import LanguageModel
    from normgrowth.runs.edited_models import RunUntil


class OfEditedModel(Job):
    """A study's model after some of an editor's edits."""

    study: Annotated[str, Positional()] = Field(description="name of the study, whose results stand in results/STUDY")
    model: Annotated[str, Positional()] = Field(description="model of the study")
    editor: Annotated[str, Positional()] = Field(description="editor of the study")
    after: Count | None = Field(None, description="edits applied (default: all that are finished)")
    order: int = Field(0, ge=0, description="number of the edit order")
    device: str = Field("auto", description="auto, cpu or cuda")
    threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="CPU threads (default: all of the machine)"
    )

    def run(self) -> "RunUntil":
        """The run, up to the edit asked for.

        Raises:
            StudyError: when there is no such run or number of edits.
        """
        # pandas: kept out of --help
        from normgrowth.runs.edited_models import run_until

        return run_until(self.study, self.model, self.editor, self.order, self.after)

    def load(self, run: "RunUntil") -> "LanguageModel":
        """The unedited model.

        Raises:
            ModelError: when its folder holds no model that can be used.
        """
        return OnModel(model=run.model_folder, device=self.device, threads=self.threads).load()
