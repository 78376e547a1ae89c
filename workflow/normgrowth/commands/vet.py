"""Take a first look at any model: what it knows, where its facts sit, which editors work, and what to set."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from normgrowth.checked import Count, Seed
from normgrowth.editors.families import in_order
from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.editors.settings import HYPERNETWORK, WrapperSettings
from normgrowth.errors import StudyError
from normgrowth.facts.importing import take_facts
from normgrowth.facts.records import facts_of
from normgrowth.io.atomic import whole_or_not_at_all
from normgrowth.jobs.job import Positional
from normgrowth.jobs.on_model import OnModel
from normgrowth.measure.measure_settings import Measure
from normgrowth.study.chosen_editors import ChosenEditor, by_default
from normgrowth.study.sections import Contexts, SecondMoments


def editors_to_try() -> tuple[str, ...]:
    """Kinds of editors that edit by themselves and need no long training before their first edit, in tables' order."""
    settings = {kind: declaration(kind).Settings for kind in EDITORS}
    wrappers = {kind for kind, its in settings.items() if issubclass(its, WrapperSettings)}
    return tuple(in_order(kind for kind in EDITORS.keys() - wrappers if HYPERNETWORK not in settings[kind]().needs))


def _tried(editors: tuple[str, ...]) -> tuple[str, ...]:
    """The editors, each once, in the order of tables.

    Raises:
        ValueError: naming those that cannot be tried, and those that can.
    """
    can = editors_to_try()
    if wrong := [kind for kind in editors if kind not in can]:
        raise ValueError(
            f"{', '.join(wrong)} cannot be tried on a model at once; editors that can are {', '.join(can)}"
        )
    return tuple(in_order(set(editors)))


class Vet(OnModel):
    """A model, facts, and what it is vetted by."""

    model: Annotated[Path, Positional()] = Field(description="model folder, as transformers saves it")
    facts_file: Annotated[Path, Positional()] = Field(description="facts: a JSON list of records")
    format: Literal["counterfact", "zsre"] = Field("counterfact", description="schema of the records")
    text: Path | None = Field(
        None,
        description="UTF-8 text for perplexity and second moments, documents separated by blank lines (default: no "
        "perplexity, and second moments of text that the model writes)",
    )
    facts: Count = Field(40, description="facts to score, drawn from the file")
    edits: Count = Field(20, description="facts that each editor edits, of those scored")
    editors: Annotated[tuple[str, ...], AfterValidator(_tried)] = Field(
        (), description="editors to try (default: all that need no training)"
    )
    seed: Seed = Field(0, description="seed of everything random")
    threads: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="CPU threads (default: all of the machine)"
    )
    out: Path | None = Field(None, description="write the page as Markdown too")
    json_: Path | None = Field(None, description="write its numbers as JSON too")


def run(job: Vet) -> None:
    """Measure the model, try the editors on it, and print the page."""
    # torch: kept out of planning and of --help
    from normgrowth.measure.vetting import Asked, vet
    from normgrowth.report.plain_page import as_markdown, as_text
    from normgrowth.report.vet_page import as_json, page
    from normgrowth.sources.text import documents

    facts = facts_of(take_facts(job.facts_file, job.format, None).records, job.facts_file)
    if job.text:
        documents(job.text)  # refused now rather than after the model is loaded
    lm = job.load()
    model = job.model.resolve().name
    chosen = {kind: _by_default(kind, model, lm.anatomy.n_layers) for kind in job.editors or editors_to_try()}
    asked = Asked(
        seed=job.seed,
        facts=job.facts,
        edits=job.edits,
        text=job.text,
        window=min(SecondMoments().window, lm.context or SecondMoments().window),
        perplexity_tokens=Measure().perplexity_tokens,
        moment_tokens=SecondMoments().tokens,
        contexts_per_length=Contexts().per_length,
    )
    vetted = vet(job.model, lm, facts, {kind: editor.settings for kind, editor in chosen.items()}, asked)
    presets = {kind: source for kind, editor in chosen.items() if (source := _preset(editor))}
    said = (vetted, model, job.facts_file.name, presets)
    for path, content in ((job.out, as_markdown(page(*said))), (job.json_, as_json(*said))):
        if path:
            with whole_or_not_at_all(path) as partial:
                partial.write_text(content, encoding="utf-8")
    print(as_text(page(*said)))


def _by_default(kind: str, model: str, n_layers: int) -> ChosenEditor:
    """An editor at default settings.

    Raises:
        StudyError: when the preset of a published model of this name does not fit the model.
    """
    try:
        return by_default(kind, model, n_layers)
    except ValueError as error:
        raise StudyError(
            f"{kind}: {error}; by its name {model!r} it would be the published model, whose preset is used: rename the "
            "folder if it is another one"
        ) from error


def _preset(editor: ChosenEditor) -> str | None:
    """Source of the preset that an editor follows; None where it follows none."""
    origins = [origin for origin in editor.origins.values() if origin != "default"]
    return origins[0].partition(":")[0].removeprefix("preset ") if origins else None
