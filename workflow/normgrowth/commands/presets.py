"""Show published hyperparameters, and where their sources differ."""

import json
from typing import Annotated, Literal

from pydantic import Field

from normgrowth.errors import StudyError
from normgrowth.jobs.job import Job, Positional
from normgrowth.study import presets
from normgrowth.study.messages import unknown

NOT_STATED = "-"


class Presets(Job):
    """A view of the published hyperparameters: sources, settings or differences, of an editor and a model."""

    what: Annotated[Literal["list", "show", "diff"], Positional()] = Field(
        description="sources; an editor's settings; their differences"
    )
    editor: Annotated[str | None, Positional()] = Field(None, description="kind of editor, for show and diff")
    model: str | None = Field(None, description="published model, or another name of it (default: all)")


def run(job: Presets) -> None:
    """Print what was asked for."""
    if job.what == "list":
        print("\n".join(_listed()))
        return
    editor = _known(job.editor)
    print("\n\n".join(_table(editor, model, job.what == "diff") for model in _models(editor, job.model)))


def _known(editor: str | None) -> str:
    """The kind of editor to show.

    Raises:
        StudyError: when none is named, or no source knows it.
    """
    having = sorted({name for source in presets.sources() for name in presets.editors(source)})
    if editor is None or editor not in having:
        raise StudyError(unknown("editor", editor, having) if editor else f"name an editor: {', '.join(having)}")
    return editor


def _models(editor: str, model: str | None) -> list[str]:
    """The published models to show an editor on.

    Raises:
        StudyError: when nothing is known of the model, or of the two together.
    """
    published = None if model is None else presets.published(model)
    if model is not None and published is None:
        raise StudyError(unknown("model", model, presets.models()))
    covered = {name for source in presets.sources() for name in presets.covered(source, editor)}
    wanted = presets.models() if published is None else (published,)
    if not covered.intersection(wanted):
        raise StudyError(f"no source has settings of {editor} for {', '.join(wanted)}")
    return [name for name in wanted if name in covered]


def _listed() -> list[str]:
    """One line per source: what it is, and for which editors it has settings."""
    width = max(map(len, presets.sources()))
    lines = []
    for source in presets.sources():
        lines.append(f"{source:{width}}  {presets.title(source)}: {', '.join(presets.editors(source))}")
    return lines


def _table(editor: str, model: str, only_differences: bool) -> str:
    """An editor's settings for a model, one column per source; rows that differ are marked."""
    found = {source: presets.preset(source, editor, model) for source in presets.sources()}
    found = {source: values for source, values in found.items() if values}
    rows = []
    for name in dict.fromkeys(name for values in found.values() for name in values):
        cells = [json.dumps(values[name].value) if name in values else NOT_STATED for values in found.values()]
        differs = len(set(cells) - {NOT_STATED}) > 1
        if differs or not only_differences:
            rows.append(["*" if differs else "", name, *cells])
    lines = [f"{editor} on {model}{', where sources differ' if only_differences else ', * where sources differ'}"]
    lines += _aligned([["", "", *found], *rows]) if rows else ["  no setting differs"]
    usual = presets.default_source(editor, model)
    for source, values in found.items():
        lines += ["", f"{source}{' (the usual one)' if source == usual else ''}: {presets.title(source)}"]
        origins: dict[str, list[str]] = {}
        for name, value in values.items():
            origins.setdefault(value.origin, []).append(name)
        lines += [f"  {origin}: {', '.join(names)}" for origin, names in origins.items()]
        lines += [f"  absent: {name}: {why}" for name, why in presets.absent(source, editor, model).items()]
        lines += [f"  not carried over: {name}: {why}" for name, why in presets.not_carried(source).items()]
    return "\n".join(lines)


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
