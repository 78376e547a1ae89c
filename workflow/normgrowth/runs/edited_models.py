"""Edited models of a study, finished or still running: which are at hand, and the model after some of a run's edits."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from normgrowth.errors import StudyError
from normgrowth.facts.records import Fact, read_facts
from normgrowth.io.provenance import file_sha256
from normgrowth.io.tables import read_table
from normgrowth.io.tensors import read_metadata
from normgrowth.layout import FACTS, MODEL, RUN, STREAM, segment_folder
from normgrowth.lm.model import LanguageModel
from normgrowth.runs.state import FACTORS, STATE, EditedModel, state_file
from normgrowth.sources.manifest import said_of_model

SHOWN = 12
"""Numbers of edits that a message names at most."""


@dataclass(frozen=True)
class RunUntil:
    """A run of a study up to one of its edits."""

    folder: Path  # of the run
    segments: int  # that lead to `step`
    step: int  # edits applied
    metadata: dict[str, Any]  # of the last of these segments: names, editor, settings, seed, hashes, versions

    @property
    def model_folder(self) -> Path:
        """The unedited model, relative to the working directory."""
        return Path(MODEL.format(model=self.metadata["model"]))

    def edits(self) -> pd.DataFrame:
        """The edits up to `step`: columns `step`, `case_id`; of a stream also `target_new`, `target_true`, `former`."""
        tables = []
        for number in range(1, self.segments + 1):
            folder = segment_folder(self.folder, number)
            name = STREAM if (folder / f"{STREAM}.parquet").exists() else "edits"
            tables.append(read_table(folder / f"{name}.parquet", name))
        edits = pd.concat(tables).sort_values("step")
        columns = [name for name in ("step", "case_id", "target_new", "target_true", "former") if name in edits]
        return edits.loc[edits["step"] <= self.step, columns]

    def facts(self) -> list[Fact] | None:
        """The edits up to `step` as facts, in their order; None where the file that they come from is not at hand.

        The file is known by its hash, so that a changed one is not taken for it.
        """
        wanted = self.metadata["facts"]
        files = Path(FACTS.format(facts="")).parent.rglob("*.json")
        file = next((file for file in sorted(files) if file_sha256(file) == wanted), None)
        if file is None:
            return None
        by_case = {fact.case_id: fact for fact in read_facts(file)}
        found = []
        for edit in self.edits().to_dict("records"):
            objects = {name: edit[name] for name in ("target_new", "target_true") if name in edit}
            if "former" in edit:
                objects["former"] = edit["former"] if isinstance(edit["former"], str) else None
            found.append(replace(by_case[edit["case_id"]], **objects))
        return found


def run_until(study: str, model: str, editor: str, order: int, after: int | None) -> RunUntil:
    """A run of a study in the working directory, up to its edit number `after`; up to its last one where that is None.

    Raises:
        StudyError: when there is no such study, model, editor, order or number of edits, with those there are.
        ArtefactError: when a state is damaged.
    """
    chain = Path(RUN.format(study=study, model=model, editor=editor, order=order))
    named = zip((chain, *chain.parents), ("edit order", "editor", "model", "runs", "study"), strict=False)
    for folder, what in reversed([*named]):
        if not folder.is_dir():
            raise StudyError(f"there is no {what} {folder.name} in {folder.parent}: {_there(folder.parent)}")
    at_hand: dict[int, tuple[int, dict[str, Any]]] = {}  # number of segments, and metadata of the last, by step
    segments = 0
    while state_file(chain, segments + 1).exists():
        segments += 1
        metadata = read_metadata(state_file(chain, segments), STATE)
        steps = metadata["steps"] if metadata["form"] == FACTORS else metadata["steps"][-1:]
        at_hand |= dict.fromkeys(steps, (segments, metadata))
    if not at_hand:
        raise StudyError(f"{chain} holds no finished segment yet: `normgrowth status` says how far its run is")
    step = max(at_hand) if after is None else after
    if step not in at_hand:
        raise StudyError(
            f"the model after {step} edits by {editor} is not kept; kept are those after {_numbers([*at_hand])}"
        )
    return RunUntil(chain, at_hand[step][0], step, at_hand[step][1])


@contextmanager
def edited(lm: LanguageModel, run: RunUntil) -> Iterator[EditedModel]:
    """The model after the run's edits, inside the block; `lm` is its unedited model, and is edited in place.

    Raises:
        ArtefactError: when the states are of another model, or one is missing or damaged.
    """
    identity = {name: run.metadata[name] for name in ("study", "model", "editor", "order")}
    model = EditedModel(lm, run.folder, run.segments, {**identity, **said_of_model(run.model_folder)})
    with model.at(run.step) if run.step in model.steps else nullcontext():
        yield model


def _there(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return f"known are {', '.join(names)}" if names else "nothing has been made there yet"


def _numbers(steps: list[int]) -> str:
    """Ascending numbers in words: all of them where they are few, else runs of neighbours as `1 to 50`."""
    if len(steps) <= SHOWN:
        return ", ".join(map(str, steps))
    if steps == list(range(steps[0], steps[-1] + 1)):
        return f"{steps[0]} to {steps[-1]}"
    return f"{', '.join(map(str, steps[: SHOWN - 2]))}, ... and {steps[-1]}"
