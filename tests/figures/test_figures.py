"""Every figure draws on every shape of study, and equal tables give equal bytes."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from normgrowth.commands import draw as command
from normgrowth.editors.families import CONTROL, FAMILIES, REMEDY, by_family, family_of
from normgrowth.errors import ArtefactError, UsageError
from normgrowth.figures import grid, render, series
from normgrowth.figures.catalogue import FIGURES, figures_of
from normgrowth.figures.damage_by_part import MATCHED, _ratios
from normgrowth.figures.grid import lay_out
from normgrowth.figures.scores_against_edits import at_once, retained
from normgrowth.figures.style import LOOKS, Style, StyleSettings
from normgrowth.jobs.command_line import parse
from tests.support import planted
from tests.support.planted import Run

LLAMA = {"model": "tiny-llama", "names": planted.NAMES["llama"]}
SMALL = {"edits": 12, "checkpoints": (6, 12), "n_layers": 3, "cases": 12}

STUDIES = {
    "one editor, one checkpoint": (Run(**SMALL | {"checkpoints": (12,)}),),
    "two models, a collapse, a missing editor": (
        Run(**SMALL),
        Run(editor="memit", layers=(0, 1), **SMALL),
        Run(collapse=6, **SMALL, **LLAMA),
    ),
    "orders": (Run(orders=3, **SMALL), Run(editor="ft", orders=2, **SMALL)),
    "collapse at once": (Run(collapse=1, **SMALL),),
    "no checkpoint": (Run(**SMALL | {"checkpoints": ()}),),
}


@pytest.fixture(scope="module")
def studies():
    return {name: planted.tables(*runs) for name, runs in STUDIES.items()}


ROWS_OF_EDITORS = ("share_of_residual", "geometry_by_layer", "damage_by_part")
"""Figures whose rows are named by the ticks of their y axis."""


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("name", figures_of([]))
def test_every_figure_draws(name, study, studies):
    if name == "damage_by_part" and study == "no checkpoint":
        with pytest.raises(ArtefactError, match="norm_direction has no rows"):
            render.draw(name, studies[study], Style())
        return
    figure = render.draw(name, studies[study], Style(StyleSettings(dpi=50)))
    visible = [ax for ax in figure.axes if ax.get_visible() and ax.get_subplotspec()]  # not the scales of colours
    assert visible
    for ax in visible:
        first = ax.get_subplotspec().colspan.start == 0
        assert ax.get_ylabel() or ax.figure.get_supylabel() or not first or name in ROWS_OF_EDITORS
    bottom = [ax for ax in visible if ax.get_subplotspec().is_last_row()]
    assert all(ax.get_xlabel() or ax.figure.get_supxlabel() for ax in bottom)
    named = {word.split(" (")[0] for word in words_of(figure)}  # the number of orders may stand behind
    assert {run.editor for run in STUDIES[study]} <= named


def words_of(figure) -> set[str]:
    """Every text of a figure: of legends, titles, ticks."""
    return {word for text in figure.findobj(Text) for word in (text.get_text(), *text.get_text().split(" · "))}


SHAPES = {
    "few": lambda: [*(Run(editor=e, **SMALL) for e in ("ft", "r_rome")), Run(editor="ft", **SMALL, **LLAMA)],
    "many": lambda: planted.every_editor("world-gpt2", "world-llama", **SMALL)[:-6],
    "specificity": lambda: [Run(specificity=0.7, **SMALL), Run(editor="ft", **SMALL)],
    "arms": lambda: [Run(editor=e, **SMALL) for e in ("r_rome", "scale_only-r_rome", "norm_restored-memit")],
}


@pytest.fixture(scope="module", params=["few", pytest.param("many", marks=pytest.mark.slow), "specificity", "arms"])
def shape(request):
    runs = SHAPES[request.param]()
    return runs, planted.tables(*runs)


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_and_the_legend_covers_no_panel(name, shape):
    runs, tables = shape
    if name not in figures_of(run.editor for run in runs):
        pytest.skip("a study without arms does not draw it")
    style = Style()
    figure = render.draw(name, tables, style)
    with matplotlib.rc_context(style.rc):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        figure.set_dpi(style.settings.dpi)  # what was placed at one resolution is drawn at others
        figure.draw_without_rendering()
    whole = figure.bbox
    legend = figure.legends[0].get_window_extent() if figure.legends else Bbox.from_extents(1, 0, 1, 0)
    for ax in (ax for ax in figure.axes if ax.get_visible()):
        box = ax.get_tightbbox()
        assert box.y0 >= legend.y1 - 1 and box.x0 >= whole.x0 - 1 and box.x1 <= whole.x1 + 1
        assert box.y1 <= whole.y1 + 1
    assert whole.x0 <= legend.x0 and legend.x1 <= whole.x1 and legend.y0 >= whole.y0
    titles = [ax.title.get_window_extent() for ax in figure.axes if ax.get_visible() and ax.get_title()]
    for part in [figure, *figure.subfigs]:
        sides = [text for text in (part._suptitle, part._supylabel) if text is not None]
        titles += [text.get_window_extent() for text in sides if text.get_text()]
    assert not any(a.overlaps(b) for i, a in enumerate(titles) for b in titles[:i])


LINES = [name for name in figures_of([]) if name.endswith(("_edits", "_age", "_values")) or name == "general_ability"]


@pytest.mark.parametrize("name", LINES)
def test_many_editors_have_a_panel_per_family_and_a_legend_of_all(name):
    runs = planted.every_editor("world-gpt2", **SMALL)
    figure = render.draw(name, planted.tables(*runs), Style())
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == ["fine-tuning", "hypernetworks", "locate-and-edit", "control arms"]
    assert {text.get_text() for text in figure.legends[0].get_texts()} >= {run.editor for run in runs}
    rows = {}
    for ax in figure.axes:
        rows.setdefault(ax.get_subplotspec().rowspan.start, set()).add(ax.get_ylim())
    assert all(len(ranges) == 1 for ranges in rows.values())


@pytest.mark.parametrize("name", ["perplexity_against_edits", "orientation_against_edits", "scores_against_edits"])
def test_no_line_joins_two_points(name):
    """With a single checkpoint there are dots; with two, a line through three points."""

    def joined(checkpoints):
        run = Run(**SMALL | {"checkpoints": checkpoints, "loss": 0.02})
        figure = render.draw(name, planted.tables(run), Style())
        colour = Style().look(run.editor).colour
        lines = [line for ax in figure.axes for line in ax.get_lines() if line.get_color() == colour]
        return {line.get_linestyle() for line in lines if line.get_marker() == Style().look(run.editor).marker}

    assert joined((12,)) == {"None"}
    assert "-" in joined((6, 12)) or name == "scores_against_edits"


def test_specificity_has_a_panel_where_facts_have_it():
    def drawn(*runs):
        tables = planted.tables(*runs)
        labels = [ax.get_ylabel() for ax in render.draw("scores_against_edits", tables, Style()).axes]
        legend = render.draw("card", tables, Style(), model="tiny-gpt2", editor="r_rome").legends[0]
        return "specificity (RS)" in labels, "specificity (RS)" in {text.get_text() for text in legend.get_texts()}

    assert drawn(Run(specificity=0.75, **SMALL)) == (True, True)
    assert drawn(Run(**SMALL)) == (False, False)
    scores = planted.tables(Run(specificity=0.75, **SMALL))["scores"]
    *_, shares = retained(scores[scores["moment"] != "unedited"])
    last = scores[(scores["step"] == 12) & (scores["moment"] == "retention")]
    assert shares.loc[12, "mean"] == pytest.approx(last["rs"].mean())


def test_families_without_editors_get_no_column_and_arms_are_drawn_over_what_they_control():
    frame = pd.DataFrame({"model": "m", "editor": [e for e in planted.EFFECTS if family_of(e) != "hypernetwork"]})
    layout = lay_out(Style(), ["y"], frame, grid.row_by_model)
    assert [panel.axes.get_title() for panel in layout.panels] == ["fine-tuning", "locate-and-edit", "control arms"]
    assert layout.panels[-1].wrapped == ["r_rome", "memit"]
    few = lay_out(Style(), ["y"], frame.iloc[:8], grid.row_by_model)
    assert len(few.panels) == 1 and not few.split and not few.panels[0].wrapped


def test_remedies_have_a_column_over_the_editors_that_they_wrap():
    editors = [*(e for e in planted.EFFECTS if family_of(e) in ("fine-tuning", "locate-and-edit")), "revive-memit"]
    editors += ["simie-r_rome", "blue-nas", "norm_restored-revive-memit"]
    layout = lay_out(Style(), ["y"], pd.DataFrame({"model": "m", "editor": editors}), grid.row_by_model)
    titles = [panel.axes.get_title() for panel in layout.panels]
    assert titles == ["fine-tuning", "locate-and-edit", "remedies", "control arms"]
    assert layout.panels[2].editors == ["simie-r_rome", "revive-memit", "blue-nas"]
    assert [panel.wrapped for panel in layout.panels[2:]] == [["r_rome", "memit", "nas"], ["revive-memit"]]
    drawn = {"ft", "revive-memit"}
    runs = [Run(editor=editor, **SMALL) for editor in sorted(drawn)]
    figure = render.draw("norm_against_damage", planted.tables(*runs), Style())
    assert {text.get_text() for text in figure.legends[0].get_texts()} >= drawn


def test_remedies_look_like_what_they_wrap_and_like_no_other_editor():
    remedies = [f"{kind}-{editor}" for kind in FAMILIES[REMEDY] for editor in ("memit", "memit-3", "pmet")]
    arms = [f"{kind}-{editor}" for kind in FAMILIES[CONTROL] for editor in ("memit", "revive-memit", "revive-pmet")]
    style = Style().among([*LOOKS, "memit-3", *remedies, *arms])
    looks = {editor: style.look(editor) for editor in (*LOOKS, "memit-3", *remedies, *arms)}
    assert len({(look.colour, look.marker) for look in looks.values()}) == len(looks)
    for remedy in remedies:
        assert looks[remedy].colour == looks[remedy.partition("-")[2]].colour
        assert looks[remedy].dash == looks["revive-memit"].dash != looks["memit"].dash
    for editor, look in looks.items():
        assert look.colour and matplotlib.markers.MarkerStyle(look.marker), editor


def test_control_arms_are_drawn_only_where_a_study_has_them(studies):
    assert set(FIGURES) - set(figures_of(["ft", "memit-weak"], interventions=True)) == {"control_arms"}
    assert figures_of(["ft", "scale_only-ft"], interventions=True) == list(FIGURES)
    with pytest.raises(ArtefactError, match="control arm"):
        render.draw("control_arms", studies["orders"], Style())


@pytest.mark.parametrize("models", [("m",), ("m", "n")])
def test_interventions_are_drawn_with_every_matrix(models):
    assert "interventions" not in figures_of(["ft"])
    table = planted.interventions(*models)
    figure = render.draw("interventions", {"interventions": table}, Style())
    panels_drawn = [ax for ax in figure.axes if ax.get_visible()]
    assert len(panels_drawn) == 3 * len(models)
    assert all(ax.get_xlabel() and len(ax.get_lines()) == table["matrix"].nunique() + 2 for ax in panels_drawn)
    figure.draw_without_rendering()
    assert all(ax.get_tightbbox().y0 >= figure.legends[0].get_window_extent().y1 - 1 for ax in panels_drawn)


def test_control_arms_stand_beside_their_editor():
    runs = planted.every_editor("world-gpt2", "world-llama", **SMALL)
    figure = render.draw("control_arms", planted.tables(*runs), Style())
    rows = [ax.get_ylabel() for ax in figure.axes if ax.get_ylabel()]
    assert rows == ["r_rome", "memit"] * 2
    assert len(figure.axes[2].get_lines()) == 4 + 1  # an editor, its three arms, the unedited model


def test_same_tables_same_bytes_and_no_dates(tmp_path, studies):
    tables = planted.write(tmp_path / "tables", studies["two models, a collapse, a missing editor"])

    def drawn(prefix):
        options = [
            "--figure",
            "norm_against_edits",
            "--study",
            planted.STUDY,
            "--tables",
            str(tables),
            "--style",
            '{"dpi": 60}',
        ]
        command.run(parse(command.Draw, [*options, "--out", str(tmp_path / prefix / "figure")]))
        return [(tmp_path / prefix / f"figure.{extension}").read_bytes() for extension in ("pdf", "svg", "png")]

    first, second = drawn("a"), drawn("b")
    assert first == second
    assert b"CreationDate" not in first[0] and b"<dc:date>" not in first[1]


def test_a_style_that_makes_no_sense_is_refused():
    given = ["--figure", "norm_against_edits", "--study", "s", "--tables", "t", "--out", "o", "--style"]
    with pytest.raises(UsageError, match=r"--style: font_size is 'big'.*settings are panel_width"):
        parse(command.Draw, [*given, '{"font_size": "big"}'])
    with pytest.raises(UsageError, match="colour"):
        parse(command.Draw, [*given, '{"colour": 1}'])


def test_nothing_to_draw_is_an_error(studies):
    empty = {name: frame.iloc[:0] for name, frame in studies["orders"].items()}
    empty["interventions"] = planted.interventions("m").iloc[:0]
    for name in FIGURES:
        with pytest.raises(ArtefactError, match="no rows"):
            render.draw(name, empty, Style())


def test_editors_look_different_and_always_the_same():
    looks = [Style().look(editor) for editor in LOOKS]
    assert len({look.colour for look in looks}) == len({(look.colour, look.marker) for look in looks}) == len(LOOKS)
    assert Style().look("my_editor") == Style().look("my_editor")


def test_no_two_editors_of_a_figure_look_alike():
    variants = [f"memit-{i}" for i in range(12)]
    arms = by_family([*planted.EFFECTS])[CONTROL] + ["norm_restored-memit-3", "scale_only-memit-3"]
    editors = [*LOOKS, *variants, "mine", *arms]
    style = Style().among(editors)
    looks = {editor: style.look(editor) for editor in editors}
    assert len({(look.colour, look.marker) for look in looks.values()}) == len(editors)
    assert looks == {editor: Style().among(reversed(editors)).look(editor) for editor in editors}
    for arm in arms:
        assert looks[arm].colour == looks[arm.partition("-")[2]].colour
    assert looks["scale_only-memit-3"][1:] == looks["scale_only-r_rome"][1:] != looks["norm_restored-memit-3"][1:]
    assert Style().look("scale_only-memit").colour == Style().look("memit").colour


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
    steps = series.thin(range(20_001))
    assert len(steps) <= series.POINTS and steps[0] == 0 and steps[-1] == 20_000


def test_collapse_ends_a_line():
    line = pd.DataFrame({"mean": [1.0, 1.2, float("nan"), 1.1]})
    part, broke = series.finite_part(line)
    assert broke and list(part["mean"]) == [1.0, 1.2]


def test_scores_are_means_over_cases():
    scores = planted.tables(Run(**SMALL))["scores"]
    es, _, _, s, _ = retained(scores[scores["moment"] != "unedited"])
    last = scores[(scores["moment"] == "retention") & (scores["step"] == 12)]
    assert es.loc[12, "mean"] == pytest.approx(last["es"].mean())
    expected = 3 / sum(1 / last[name].mean() for name in ("es", "ps", "ns"))
    assert s.loc[12, "mean"] == pytest.approx(expected)
    assert list(at_once(scores)[0].index) == [6, 12]


def test_editors_are_compared_where_they_are_equally_effective():
    arms = [("unedited", None, 0.2, 2.0), ("path", 0.5, 0.8, 2.3), ("path", 0.75, 1.0, 2.7), ("edited", None, 1.0, 3.0)]
    rows = pd.DataFrame(
        [
            {"order": order, "arm": arm, "amount": amount, "metric": metric, "value": value}
            for order in (0, 1)
            for arm, amount, es, loss in arms
            for metric, value in (("es", es), ("log_perplexity", loss + order))
        ]
    )
    assert _ratios(rows)[MATCHED] == pytest.approx(np.exp(0.5))  # halfway from 2.3 to 2.7, over 2.0
    rows.loc[rows["metric"] == "es", "value"] /= 2
    assert MATCHED not in _ratios(rows)
