"""Names stand beside their points, clear of each other, and ratios can be read on their axis."""

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from normgrowth.editors.families import FAMILIES
from normgrowth.errors import ArtefactError
from normgrowth.figures import render
from normgrowth.figures.damage_by_explanation import MARKERS
from normgrowth.figures.labels import MARKER, label_points, places
from normgrowth.figures.ratio_axis import backward, forward, ratio_axis, ticks
from normgrowth.figures.style import Style
from tests.support import planted
from tests.support.planted import Run

SMALL = {"edits": 12, "checkpoints": (6, 12), "n_layers": 3, "cases": 12}
PANEL = np.array([[0.0, 0.0], [170.0, 220.0]])


def boxes(points, offsets, sizes):
    centres = points + offsets
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)


def meet(a, b):
    return (a[:2] < b[2:]).all() and (b[:2] < a[2:]).all()


@pytest.mark.parametrize("shape", ["spread", "cloud", "line", "corner"])
def test_thirty_names_find_room(shape):
    rng = np.random.default_rng(1)
    spread = {"spread": (150, 200), "cloud": (40, 40), "line": (150, 1), "corner": (30, 30)}[shape]
    start = {"corner": (3, 3), "line": (8, 100)}.get(shape, (10, 10))
    points = np.array(start) + rng.random((30, 2)) * spread
    sizes = np.column_stack([rng.uniform(15, 55, 30), np.full(30, 6.9)])
    offsets, lines = places(points, sizes, PANEL)
    found = boxes(points, offsets, sizes)
    assert not any(meet(found[i], found[j]) for i in range(30) for j in range(i))
    assert (found[:, :2] >= PANEL[0]).all() and (found[:, 2:] <= PANEL[1]).all()
    again, _ = places(points, sizes, PANEL)
    assert (again == offsets).all()
    if shape == "spread":
        markers = np.concatenate([points - MARKER, points + MARKER], axis=1)
        assert not any(meet(name, marker) for name in found for marker in markers)
        assert lines.mean() < 0.5


def test_a_lone_name_stands_next_to_its_point():
    offsets, lines = places(np.array([[80.0, 100.0]]), np.array([[30.0, 7.0]]), PANEL)
    assert np.hypot(*offsets[0]) < 25 and not lines[0]


def test_names_are_not_laid_out_so_that_panels_keep_their_size():
    figure = Figure(figsize=(3, 3), layout="constrained")
    ax = figure.subplots()
    ax.plot([1, 2], [1, 2], "o")
    figure.draw_without_rendering()
    before = ax.get_position().bounds
    label_points(ax, [1, 2], [1, 2], ["first", "second"], 6)
    label_points(ax, [], [], [], 6)
    figure.draw_without_rendering()
    assert ax.get_position().bounds == pytest.approx(before)
    assert {text.get_text() for text in ax.texts} == {"first", "second"}


def names_of(ax):
    return [text for text in ax.texts if isinstance(text, Annotation)]


@pytest.mark.parametrize("models", [("world-gpt2",), ("world-gpt2", "world-llama")])
def test_every_editor_of_the_figure_has_a_name_and_no_name_covers_another(models):
    runs = planted.every_editor(*models, **SMALL)
    style = Style()
    figure = render.draw("damage_by_explanation", planted.tables(*runs), style)
    with matplotlib.rc_context(style.rc):
        figure.set_dpi(style.settings.dpi)
        figure.draw_without_rendering()
    finite = {run.editor for run in runs if run.collapse is None or run.collapse > 12}
    for ax in figure.axes:
        assert {text.get_text() for text in names_of(ax)} == finite
        found = [Text.get_window_extent(text) for text in names_of(ax)]  # without its line
        assert not any(a.overlaps(b) for i, a in enumerate(found) for b in found[:i])
        panel = ax.get_window_extent()
        assert all(panel.x0 <= box.x0 and box.x1 <= panel.x1 for box in found)
        assert all(panel.y0 <= box.y0 and box.y1 <= panel.y1 for box in found)


def test_what_is_not_drawn_is_named_and_correlations_leave_arms_out():
    runs = [Run(editor=e, growth=g, perplexity_growth=g, **SMALL) for e, g in zip("abcdef", range(1, 7), strict=True)]
    runs = [Run(**{**vars(run), "growth": run.growth / 50, "perplexity_growth": run.growth / 50}) for run in runs]
    runs += [Run(editor="rome", collapse=6, **SMALL), Run(editor="norm_restored-a", growth=0.0, **SMALL)]
    figure = render.draw("damage_by_explanation", planted.tables(*runs), Style())
    (part,) = figure.subfigs
    assert part.get_supxlabel() == "not in every panel, since not finite or not measured · rome"
    assert figure.axes[0].get_title().startswith("ρ = +")
    assert "norm_restored-a" in {text.get_text() for text in names_of(figure.axes[0])}
    with pytest.raises(ArtefactError, match="no rows"):
        render.draw("damage_by_explanation", planted.tables(), Style())


def test_the_axis_of_ratios_is_in_proportion_near_one_and_logarithmic_far_from_it():
    ratios = np.array([0.5, 0.999, 1.0, 1.001, 1.002, 11.0, 101.0, 1001.0])
    place = forward(ratios)
    assert backward(place) == pytest.approx(ratios)
    assert place[2] == 0 and place[4] == pytest.approx(2 * place[3], rel=0.02)
    assert place[1] == pytest.approx(-place[3])
    assert place[7] - place[6] == pytest.approx(place[6] - place[5], rel=1e-4)


@pytest.mark.parametrize("values", [[], [1.0], [1.0004, 1.003], [0.7, 1.3], [1.01, 244.0], [0.2, 1e6]])
@pytest.mark.parametrize("which", ["x", "y"])
def test_an_axis_of_ratios_holds_its_values_and_has_ticks(values, which):
    ax = Figure(figsize=(3, 3)).subplots()
    ratio_axis(ax, values, which)
    low, high = ax.get_xlim() if which == "x" else ax.get_ylim()
    assert all(low < value < high for value in [1.0, *values])
    found = ticks(*forward(np.array([low, high])), 0.1)
    assert 1.0 in found and 2 <= len(found) <= 11 and list(found) == sorted(found)
    assert np.diff(forward(np.array(found))).min() >= 0.1 * np.ptp(forward(np.array([low, high])))


def test_every_family_has_a_marker_of_its_own():
    assert MARKERS.keys() == {*FAMILIES, None}
    assert len(set(MARKERS.values())) == len(MARKERS)
