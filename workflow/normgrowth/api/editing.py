"""Edits of a model in place, outside any study: the loop of a run's segments, and undoing what it did."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from normgrowth.api.facts import Facts, given_facts, read_given
from normgrowth.api.models import name_of, require_loaded
from normgrowth.editors.base import Editor, Memory
from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.editors.settings import HYPERNETWORK, ControlSettings, EditorSettings, WrapperSettings
from normgrowth.errors import EditError, ModelError, StudyError
from normgrowth.facts.records import Fact
from normgrowth.lm.kept_weights import KeptWeights
from normgrowth.lm.model import LanguageModel
from normgrowth.lm.prompt_lengths import require_edits
from normgrowth.lm.tokens import SLOT
from normgrowth.measure.gathering import Amounts, Gathered, MomentText, gather
from normgrowth.progress import Progress
from normgrowth.runs.edit_loop import EditLoop, Log, calls_of
from normgrowth.runs.telemetry import NormTelemetry
from normgrowth.seeds import derive
from normgrowth.study.chosen_editors import by_default, editors_to_try
from normgrowth.study.messages import describe, together, unknown
from normgrowth.study.sections import Contexts, SecondMoments

DEFAULT = "memit"
"""Editor where none is named."""


@dataclass(frozen=True, eq=False)
class Edited:
    """A model's edits: those of one call of `edit`, and of the calls before it that it went on from.

    Tables have the columns of those of a study, but for the names of the run.
    """

    lm: LanguageModel
    editor: str  # its kind
    settings: EditorSettings  # all of them, layers filled in
    facts: tuple[Fact, ...]  # that of step n at place n - 1
    norms: pd.DataFrame  # of every watched matrix after every call of the editor; step 0 is the unedited model
    edits: pd.DataFrame  # one row per edit, `edit_seconds` included
    scores: pd.DataFrame  # each fact just after its edit
    text: MomentText | None  # tokens that second moments are of; None for an editor without
    _work: "_Work" = field(repr=False)

    def __repr__(self) -> str:
        last = self.norms[self.norms["step"] == len(self.facts)]["frobenius_ratio"].max()
        return f"Edited({len(self.facts)} facts by {self.editor}, largest norm x{last:.4g})"

    @contextmanager
    def undone(self) -> Iterator[None]:
        """The model before the first of these edits, inside the block.

        Raises:
            EditError: when the model's weights are not those that the edits left.
        """
        self._work.require_there(self.editor)
        self._work.unedited.put_back()
        try:
            yield
        finally:
            self._work.after.put_back()


@dataclass(frozen=True)
class _Work:
    """What going on and undoing take."""

    editor: Editor  # prepared on the unedited model
    templates: list[str]  # contexts that it may put before a prompt
    memory: Memory  # after the edits
    telemetry: NormTelemetry
    unedited: KeptWeights  # before the first edit of all
    before: KeptWeights  # before the edits of the last call of `edit`
    after: KeptWeights  # after them
    calls: int  # of the editor, in all

    def require_there(self, editor: str) -> None:
        """Refuse a model with other weights than the edits left.

        Raises:
            EditError: with the remedy.
        """
        if not self.after.are_there():
            raise EditError(
                f"the model's weights are not those that these edits by {editor} left: they are undone already, or "
                "later edits changed the same layers; undo the latest first"
            )


def edit(
    lm: LanguageModel,
    facts: Facts,
    editor: str | None = None,
    *,
    text: str | Path | None = None,
    moment_tokens: int | None = None,
    pool: Facts | None = None,
    seed: int | None = None,
    after: Edited | None = None,
    **settings: Any,
) -> Edited:
    """Write facts into a model, in place, in calls of the editor's `batch` facts each.

    Each call is followed by the norms of all watched matrices and the scores of its facts. What the editor needs
    (context templates, second moments, null spaces) is gathered first on the model as it is given, which counts as the
    unedited one. The edits are those of a study that sets the same for a model of this name, in order 0. A model whose
    edit fails is put back as it was before the call.

    Args:
        lm: from `load`.
        facts: a JSON file, dictionaries or `Fact`s, edited in this order; see `normgrowth.facts.plain`.
        editor: its kind, `memit` where it is left out.
        text: UTF-8 file for second moments, documents separated by blank lines; where it is left out or too short for
            the model's width, the model writes the rest itself.
        moment_tokens: of the text that are read; a study's default where it is left out.
        pool: facts that an editor looks at before its first edit (the step of target searches, NAS's anchor): in a
            study all that could be edited, `facts` where it is left out.
        seed: of everything random, 0 where it is left out.
        after: edits of this model to go on from, by the same editor with its memory; the other arguments are theirs.
        settings: of the editor (docs/configuration.md), where they are not the defaults or a published model's preset.

    Raises:
        StudyError: when the editor or a setting is unknown, wrong, or needs what only a study makes.
        FactError: when a fact lacks a field or does not fit the model.
        EditError: naming the edit that failed.
        ModelError, ArtefactError: when what the editor needs cannot be gathered.
    """
    found = given_facts(facts)
    require_loaded(lm)
    asked = {"editor": editor, "text": text, "moment_tokens": moment_tokens, "pool": pool, "seed": seed}
    asked |= settings
    if after is not None:
        given = [name for name, value in asked.items() if value is not None]
        return _write(_gone_on(lm, after, given, found), found)
    kind = DEFAULT if editor is None else editor
    chosen = _chosen(kind, lm, settings)
    require_edits(lm, found)
    gathered = gather(
        lm,
        [chosen],
        found,
        found if pool is None else read_given(pool),
        None if text is None else Path(text),
        _amounts(lm, moment_tokens),
        seed or 0,
    )
    # Draws of the editor itself are those of a run: they differ between models, editors and orders.
    gathered = replace(gathered, seed=derive(seed or 0, "edit", name_of(lm), kind, 0))
    return _write(_begun(lm, kind, chosen, gathered), found)


def undo(edited: Edited) -> None:
    """Put the weights back, bit for bit, as they were before the call of `edit` that made these edits.

    Edits that this call went on from (`after`) stay; they can be undone next.

    Raises:
        EditError: when the model's weights are not those that the edits left.
    """
    edited._work.require_there(edited.editor)
    edited._work.before.put_back()


def _begun(lm: LanguageModel, kind: str, settings: EditorSettings, gathered: Gathered) -> Edited:
    """No edits yet: an editor ready for its first one."""
    editor = declaration(kind).build(settings)
    editor.prepare(lm, gathered.resources(settings))
    telemetry = NormTelemetry(lm, editor.layers)
    unedited = KeptWeights.of(lm, editor.layers)
    norms = pd.DataFrame(telemetry.rows(0))
    templates = [SLOT, *(template for templates in gathered.contexts.values() for template in templates)]
    work = _Work(editor, templates, editor.begin(lm), telemetry, unedited, unedited, unedited, calls=0)
    return Edited(lm, kind, settings, (), norms, pd.DataFrame(), pd.DataFrame(), gathered.text, work)


def _gone_on(lm: LanguageModel, after: Edited, given: Sequence[str], facts: list[Fact]) -> Edited:
    """The edits to go on from, once the model and the facts are found to fit.

    Raises:
        StudyError: when something is given that these edits have already.
        ModelError: when they are another model's.
        EditError: when the model's weights are not those that they left.
    """
    if given:
        raise StudyError(
            f"after= goes on by {after.editor} with its settings and resources: leave out {', '.join(given)}"
        )
    if after.lm is not lm:
        raise ModelError("after= holds the edits of another model: give the model that they were made on")
    after._work.require_there(after.editor)
    require_edits(lm, facts, after._work.templates)
    after._work.telemetry.rebase()
    return after


def _write(so_far: Edited, facts: list[Fact]) -> Edited:
    """Write facts behind the edits so far.

    Raises:
        EditError: naming the edit that failed; the model is put back then.
    """
    lm, work, first = so_far.lm, so_far._work, len(so_far.facts) + 1
    memory = {name: tensor.clone() for name, tensor in work.memory.items()}
    loop = EditLoop(lm, work.editor, memory, work.telemetry)
    calls = 0
    try:
        with Progress(len(facts), f"edits by {so_far.editor}") as progress:
            for call in calls_of(facts, so_far.settings.batch, first, work.calls + 1):
                loop.make(call)
                calls += 1
                progress.update(len(call.facts), f"norm x{loop.largest_ratio:.3f}")
        work.telemetry.recount(first + len(facts) - 1)
    except BaseException:
        work.after.put_back()
        raise
    after = KeptWeights.of(lm, work.editor.layers)
    done = replace(work, memory=memory, before=work.after, after=after, calls=work.calls + calls)
    return replace(so_far, facts=(*so_far.facts, *facts), **_tables(so_far, loop.log), _work=done)


def _tables(so_far: Edited, log: Log) -> dict[str, pd.DataFrame]:
    """The tables `norms, edits, scores` of all edits, `step` in front."""
    new = log.tables()
    new["edits"] = new["edits"].merge(new.pop("timing"), on=["step", "case_id"])
    tables = {}
    for name, rows in new.items():
        before = getattr(so_far, name)
        table = pd.concat([before, rows], ignore_index=True) if len(before) else rows.reset_index(drop=True)
        tables[name] = table[["step", *(column for column in table.columns if column != "step")]]
    return tables


def _chosen(kind: str, lm: LanguageModel, given: Mapping[str, Any]) -> EditorSettings:
    """The settings of an editor for a model, layers filled in.

    Raises:
        StudyError: when the editor or a setting is unknown, wrong, or needs what only a study makes.
    """
    if kind not in EDITORS:
        raise StudyError(unknown("editor", kind, EDITORS))
    Settings = declaration(kind).Settings
    if issubclass(Settings, WrapperSettings):
        what = "a control arm" if issubclass(Settings, ControlSettings) else "a remedy"
        raise StudyError(
            f"{kind} is {what}, which stands around another editor of a study: name {kind}-memit among the "
            f"editors of a study; editors that edit at once are {', '.join(editors_to_try())}"
        )
    if HYPERNETWORK in Settings().needs:
        raise StudyError(
            f"{kind} needs a hypernetwork, which takes long training on facts kept out of all edits: name {kind} among "
            "the editors of a study and run that; `normgrowth export` then gives the edited model"
        )
    try:
        return by_default(kind, name_of(lm), lm.anatomy.n_layers, given).settings
    except ValidationError as error:
        raise StudyError(together(describe(error, Settings, kind))) from error
    except ValueError as error:  # a layer beyond the model: its own, or of the preset that its name asks for
        raise StudyError(f"{kind}: {error}: give its layers, as in layers=[1, 2]") from error


def _amounts(lm: LanguageModel, moment_tokens: int | None) -> Amounts:
    """How much is gathered for an editor: as much as for a study that sets nothing else."""
    defaults = SecondMoments()
    window = min(defaults.window, lm.context or defaults.window)
    tokens = defaults.tokens if moment_tokens is None else moment_tokens
    return Amounts(Contexts().per_length, -(-tokens // window) * window, window)  # whole windows, as a study reads
