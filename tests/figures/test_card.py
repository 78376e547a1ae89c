"""The picture of one run: it draws on every shape of run, shows that run alone, and looks as in the figures."""

from itertools import combinations

import pytest
from matplotlib.colors import to_hex

from normgrowth.analysis.collapse import WINDOW
from normgrowth.commands import card as command
from normgrowth.errors import ArtefactError
from normgrowth.figures import render
from normgrowth.figures.style import Style, StyleSettings
from normgrowth.jobs.command_line import parse
from tests.support import planted
from tests.support.planted import Run

SHORT = {"edits": 12, "checkpoints": (6, 12), "n_layers": 3, "cases": 12}
RUNS = {
    "several matrices": Run(editor="memit", layers=(0, 1, 2)),
    "collapse": Run(collapse=45),
    "collapse at once": Run(collapse=1, **SHORT),
    "no checkpoint": Run(**SHORT | {"checkpoints": ()}),
    "orders": Run(orders=3, **SHORT),
    "other relations of subjects": Run(specificity=0.7),
    "long name and many layers": Run(
        editor="random_direction-memit-history", model="a-model-of-32-layers", n_layers=32
    ),
}


def draw(*runs: Run, editor: str | None = None):
    chosen = runs[-1]
    return render.draw("card", planted.tables(*runs), Style(), model=chosen.model, editor=editor or chosen.editor)


@pytest.mark.parametrize("run", RUNS)
def test_nothing_overlaps_or_is_cut(run):
    figure = draw(RUNS[run])
    figure.draw_without_rendering()
    assert all(ax.get_xlabel() and ax.get_ylabel() for ax in figure.axes)
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    boxes += [figure.legends[0].get_window_extent(), figure._suptitle.get_window_extent()]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    whole = figure.bbox
    assert all(whole.x0 - 1 <= b.x0 and b.x1 <= whole.x1 + 1 for b in boxes)
    assert all(whole.y0 - 1 <= b.y0 and b.y1 <= whole.y1 + 1 for b in boxes)


def test_it_shows_one_run_in_that_editors_colour():
    others = (Run(editor="ft", growth=0.5), Run(editor="memit", model="other", growth=0.5))
    figure = draw(*others, Run(editor="memit"))
    norm, perplexity, scores, _ = figure.axes
    colour = Style().look("memit").colour.lower()
    assert norm.get_ylim()[1] < 10 and norm.get_xlim() == perplexity.get_xlim() == scores.get_xlim()
    assert {to_hex(line.get_color()) for line in norm.get_lines()[:-1]} == {colour}
    assert colour in {to_hex(line.get_color()) for line in scores.get_lines()}


def test_an_editor_of_the_readers_own_looks_as_in_the_figures():
    runs = [Run(editor=editor, **SHORT) for editor in ("mine", "yours", "theirs")]
    look = Style().among(run.editor for run in runs).look("mine")
    figure = draw(*runs, editor="mine")
    assert to_hex(figure.axes[0].get_lines()[0].get_color()) == look.colour.lower()


def test_scores_follow_the_last_edits():
    lines = [line for line in draw(Run()).axes[2].get_lines() if len(line.get_xdata()) > 10]
    assert len(lines) == 4 and all(line.get_xdata()[0] == WINDOW for line in lines)


def test_a_run_that_is_not_there_is_refused():
    with pytest.raises(ArtefactError, match="no run of ft on tiny-gpt2"):
        draw(Run(**SHORT), editor="ft")


def test_the_command_writes_every_format(tmp_path):
    tables = planted.write(tmp_path / "tables", planted.tables(Run(**SHORT)))
    options = [
        "--study",
        planted.STUDY,
        "--model-name",
        "tiny-gpt2",
        "--editor-name",
        "r_rome",
        "--style",
        StyleSettings(dpi=50).model_dump_json(),
    ]
    command.run(parse(command.Card, [*options, "--tables", str(tables), "--out", str(tmp_path / "card")]))
    assert {path.suffix for path in tmp_path.glob("card.*")} == {".pdf", ".svg", ".png", ".sha256"}
