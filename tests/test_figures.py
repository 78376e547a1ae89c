"""Every figure draws on every shape of study, and equal tables give equal bytes."""

import argparse
import dataclasses

import pandas as pd
import pytest

from normgrowth.commands import draw as command
from normgrowth.errors import ArtefactError, StudyError
from normgrowth.figures import panels, render
from normgrowth.figures.catalogue import FIGURES, figures_for
from normgrowth.figures.scores_against_edits import at_once, retained
from normgrowth.figures.settings import StyleSettings
from normgrowth.figures.style import LOOKS, Style
from tests import planted
from tests.planted import Run

LLAMA = {"model": "tiny-llama", "names": planted.NAMES["llama"]}
SMALL = {"edits": 12, "checkpoints": (6, 12), "n_layers": 3, "cases": 12}

MANY = [*LOOKS, "memit-history", "norm_restored-memit", "scale_only-r_rome", "random_direction-r_rome"]
STUDIES = {
    "one editor, one checkpoint": (Run(**SMALL | {"checkpoints": (12,)}),),
    "two models, a collapse, a missing editor": (
        Run(**SMALL),
        Run(editor="memit", layers=(0, 1), **SMALL),
        Run(collapse=6, **SMALL, **LLAMA),
    ),
    "orders": (Run(orders=3, **SMALL), Run(editor="ft", orders=2, **SMALL)),
    "collapse at once": (Run(collapse=1, **SMALL),),
    "every editor and control arms": tuple(Run(editor=editor, **SMALL) for editor in MANY)
    + tuple(Run(editor=editor, **SMALL, **LLAMA) for editor in MANY[:5]),
    "control arms of two editors": tuple(
        Run(editor=editor, **SMALL) for editor in ("r_rome", "memit", "norm_restored-r_rome", "scale_only-memit")
    ),
    "no checkpoint": (Run(**SMALL | {"checkpoints": ()}),),
}


@pytest.fixture(scope="module")
def studies():
    return {name: planted.tables(*runs) for name, runs in STUDIES.items()}


@pytest.mark.parametrize(
    ("name", "study"),
    [(name, study) for study, runs in STUDIES.items() for name in figures_for([run.editor for run in runs])],
)
def test_every_figure_draws(name, study, studies):
    figure = render.draw(name, studies[study], Style(StyleSettings(dpi=50)))
    visible = [ax for ax in figure.axes if ax.get_visible()]
    assert visible and all(ax.get_ylabel() or ax.get_subplotspec().colspan.start > 0 for ax in visible)
    bottom = [ax for ax in visible if ax.get_subplotspec().is_last_row()]
    assert all(ax.get_xlabel() for ax in bottom)
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    if name not in ("norm_by_layer", "control_arms"):
        assert set(labels) >= {run.editor for run in STUDIES[study]}


def test_nothing_is_cut_and_the_legend_covers_no_panel():
    runs = [Run(editor=editor, **SMALL) for editor in MANY]
    many = planted.tables(*runs, *(dataclasses.replace(run, **LLAMA) for run in runs))
    few = planted.tables(*runs[:3], *(dataclasses.replace(run, **LLAMA) for run in runs[:2]))
    for name, tables in [(name, many) for name in FIGURES] + [(name, few) for name in figures_for(MANY[:3])]:
        figure = render.draw(name, tables, Style())
        figure.draw_without_rendering()
        whole, legend = figure.bbox, figure.legends[0].get_window_extent()
        for ax in (ax for ax in figure.axes if ax.get_visible()):
            box = ax.get_tightbbox()
            assert box.y0 >= legend.y1 - 1 and box.x0 >= whole.x0 - 1 and box.x1 <= whole.x1 + 1
            assert box.y1 <= whole.y1 + 1
        assert whole.x0 <= legend.x0 and legend.x1 <= whole.x1 and legend.y0 >= whole.y0


def test_same_tables_same_bytes_and_no_dates(tmp_path, studies):
    tables = planted.write(tmp_path / "tables", studies["two models, a collapse, a missing editor"])
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)

    def drawn(prefix):
        options = ["--figure", "norm_against_edits", "--tables", str(tables), "--style", '{"dpi": 60}']
        command.run(parser.parse_args([*options, "--out", str(tmp_path / prefix)]))
        return [(tmp_path / f"{prefix}.{extension}").read_bytes() for extension in ("pdf", "svg", "png")]

    first, second = drawn("a"), drawn("b")
    assert first == second
    assert b"CreationDate" not in first[0] and b"<dc:date>" not in first[1]


def test_a_style_that_makes_no_sense_is_refused():
    with pytest.raises(StudyError, match=r"font_size.*settings are panel_width"):
        command.read_style('{"font_size": "big"}')
    with pytest.raises(StudyError, match="colour"):
        command.read_style('{"colour": 1}')


def test_nothing_to_draw_is_an_error(studies):
    empty = {name: frame.iloc[:0] for name, frame in studies["orders"].items()}
    for name in FIGURES:
        with pytest.raises(ArtefactError, match="no rows"):
            render.draw(name, empty, Style())


def test_editors_look_different_and_always_the_same():
    looks = [Style().look(editor) for editor in LOOKS]
    assert len({look.colour for look in looks}) == len({(look.colour, look.marker) for look in looks}) == 13
    assert len({Style().look(editor) for editor in MANY}) == len(MANY)
    assert Style().look("scale_only-memit").colour == Style().look("memit").colour
    assert Style().look("my_editor") == Style().look("my_editor")


def test_reader_settings_of_matplotlib_do_not_show(tmp_path, studies):
    import matplotlib

    def picture(name):
        style = Style(StyleSettings(dpi=50))
        render.save(render.draw("perplexity_against_edits", studies["orders"], style), tmp_path / name, style)
        return (tmp_path / f"{name}.png").read_bytes()

    plain = picture("plain")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black"}):
        assert picture("changed") == plain


def test_long_lines_are_thinned_and_keep_their_ends():
    steps = panels.thin(range(20_001))
    assert len(steps) <= panels.POINTS and steps[0] == 0 and steps[-1] == 20_000


def test_collapse_ends_a_line():
    line = pd.DataFrame({"mean": [1.0, 1.2, float("nan"), 1.1]})
    part, broke = panels.finite_part(line)
    assert broke and list(part["mean"]) == [1.0, 1.2]


def test_scores_are_means_over_cases():
    scores = planted.tables(Run(**SMALL))["scores"]
    es, _, _, s = retained(scores[scores["moment"] != "unedited"])
    last = scores[(scores["moment"] == "retention") & (scores["step"] == 12)]
    assert es.loc[12, "mean"] == pytest.approx(last["es"].mean())
    expected = 3 / sum(1 / last[name].mean() for name in ("es", "ps", "ns"))
    assert s.loc[12, "mean"] == pytest.approx(expected)
    assert list(at_once(scores)[0].index) == [6, 12]
