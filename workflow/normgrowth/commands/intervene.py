"""Train a whole model on, or compare two checkpoints, and write the norm of every matrix."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from normgrowth.errors import StudyError
from normgrowth.facts.orthography import joined
from normgrowth.facts.records import read_facts
from normgrowth.io.provenance import file_sha256, provenance
from normgrowth.jobs.job import Intact, from_json
from normgrowth.jobs.on_model import OnModel
from normgrowth.jobs.on_run import OfRun
from normgrowth.progress import Progress
from normgrowth.seeds import derive
from normgrowth.sources.manifest import said_of_model
from normgrowth.training.training_settings import CONTINUED_PRETRAINING, FULL_FINE_TUNING, InterventionTraining

if TYPE_CHECKING:
    import pandas as pd

    from normgrowth.lm.model import LanguageModel


class Intervene(OnModel, OfRun):
    """An intervention on a whole model, and its data or its result."""

    kind: str = Field(description="which intervention it is")
    settings: Annotated[InterventionTraining, from_json(InterventionTraining)] = Field(
        InterventionTraining(), description="training, as JSON"
    )
    seed: int = Field(0, description="seed of everything random")
    text: Intact | None = Field(None, description="text to pre-train on")
    facts: Intact | None = Field(None, description="facts whose prompts and true objects to fine-tune on")
    result: Path | None = Field(None, description="model folder to compare with instead of training")
    out: Path = Field(description="table to write")

    def data(self) -> Path:
        """The training data: a text, or facts.

        Raises:
            StudyError: when neither text nor facts are named.
        """
        data = self.text or self.facts
        if data is None:
            raise StudyError(f"{self.kind} trains on --text or --facts, and neither is given")
        return data


def run(job: Intervene) -> None:
    """Train or compare, and write table `interventions`."""
    # torch: kept out of planning and of --help
    from normgrowth.io.tables import write_table
    from normgrowth.runs.segment import Run
    from normgrowth.training.norms import compare_checkpoints

    fixed = {**said_of_model(job.model), "kind": job.kind, "seed": job.seed}
    run = Run(job.study, job.model_name, job.editor_name, job.order, fixed)
    of = run.identity | fixed
    # Missing inputs are found before the work.
    if job.result:
        metadata = provenance(**of, **said_of_model(job.result, "result"))
        rows = compare_checkpoints(job.model, job.result)
    else:
        data = job.data()
        metadata = provenance(**of, settings=job.settings.model_dump(), data=file_sha256(data))
        rows = _trained(job)
    frame = run.identify(rows.assign(kind=job.kind))
    # Column `order` numbers the training runs, which differ in their seed.
    frame["order"] += frame.pop("run") if "run" in frame else 0
    write_table(job.out, frame, "interventions", metadata)


def _trained(job: Intervene) -> "pd.DataFrame":
    """The norms of each training run, numbered from 0 in column `run`; the first has the study's own seed."""
    # pandas: kept out of planning and of --help
    import pandas as pd

    settings = job.settings
    seeds = [derive(job.seed, "training run", k) if k else job.seed for k in range(settings.seeds)]
    what = f"{job.editor_name} of {job.model_name}, steps"
    unedited = job.load()  # each run starts from it; loaded first, so that a refusal comes before the progress bar
    with Progress(settings.seeds * settings.steps, what) as progress:
        parts = []
        for number, seed in enumerate(seeds):
            lm = job.load() if number else unedited
            parts.append(_trained_once(lm, job, seed, progress.update))
    return pd.concat([part.assign(run=k) for k, part in enumerate(parts)], ignore_index=True)


def _trained_once(
    lm: "LanguageModel", job: Intervene, seed: int, progress: Callable[[int, str], None]
) -> "pd.DataFrame":
    # torch: kept out of planning and of --help
    from normgrowth.lm.prompt_lengths import require_prompts, require_windows
    from normgrowth.sources.text import windows
    from normgrowth.training import trainers

    settings = job.settings
    facts = read_facts(job.facts) if job.facts else []
    for fact in facts:
        require_prompts(lm, fact, [joined(fact.question, fact.target_true)])
    if job.kind == CONTINUED_PRETRAINING:
        require_windows(lm, {f"interventions.{job.editor_name}.training.window": settings.window})
        count = settings.steps * settings.batch
        text = windows(job.data(), lm.tokenizer, settings.window, count, seed, job.kind)
        return trainers.continued_pretraining(lm, text, settings, progress)
    train = trainers.full_fine_tuning if job.kind == FULL_FINE_TUNING else trainers.lora_fine_tuning
    return train(lm, [(fact.question, fact.target_true) for fact in facts], settings, seed, progress)
