"""Editors stand side by side in one table for each model, sorted by damage, with a word on every column."""

import re

import pytest

from normgrowth.analysis.explanations import rank_explanations
from normgrowth.analysis.side_by_side import at_the_end, side_by_side
from normgrowth.io.tables import write_table
from normgrowth.report.cells import LONG, as_markdown
from normgrowth.report.side_by_side import best_explanation, side_by_side_tables
from tests.analysis.test_side_by_side import speed_of
from tests.report.test_page import page, results
from tests.support import planted
from tests.support.planted import Run

SMALL = {"edits": 20, "checkpoints": (10, 20), "n_layers": 3, "cases": 20}
RATES = {"ft": 0.05, "rome": 0.04, "r_rome": 0.03, "memit": 0.02, "emmet": 0.01, "encore": 0.002}
EXPLAINED = [Run(editor=e, growth=g, noise=0.0, perplexity_growth=g, **SMALL) for e, g in RATES.items()]


@pytest.fixture(scope="module")
def tables():
    return planted.tables(*EXPLAINED, Run(editor="pmet", collapse=15, **SMALL))


def test_rows_stand_by_damage_and_what_broke_last(tables):
    (table,) = side_by_side_tables(tables)
    assert [row[0].text for row in table.rows] == ["encore", "emmet", "memit", "r_rome", "rome", "ft", "pmet"]
    assert table.sorted_by == table.columns[2] == "perplexity ×"
    assert table.rows[-1][2].text == "not finite" and table.rows[-1][2].value is None
    assert re.fullmatch(r"1\.041 \(\d\.\d{3} to \d\.\d{3}\)", table.rows[0][2].text)  # exp(0.002 * 20)


def test_every_column_has_a_meaning_and_what_was_not_measured_has_none(tables):
    (table,) = side_by_side_tables(tables)
    assert list(table.meanings) == list(table.columns[2:])
    assert all(meaning.endswith(".") for meaning in table.meanings.values())
    assert {"s per edit", "Wₜ / g ×", "turn, °"} <= set(table.columns)
    assert not {"MiB", "no MLP ×"} & set(table.columns)
    with_speed = side_by_side_tables(tables | {"speed": speed_of(tables, [300.0, 400.0])})[0]
    assert with_speed.rows[0][with_speed.columns.index("MiB")].text == "400"


def test_only_the_first_model_explains_the_columns():
    first, second = side_by_side_tables(planted.tables(*EXPLAINED, *[Run(model="tiny-2", **SMALL)]))
    assert (first.title, second.title) == ("Editors side by side: tiny-2", "Editors side by side: tiny-gpt2")
    assert first.meanings and not second.meanings and first.columns == second.columns


def test_many_editors_are_not_folded_away():
    runs = planted.every_editor("a", "b", **SMALL) + [Run(model="a", editor=f"memit-{i}", **SMALL) for i in range(8)]
    table, _ = side_by_side_tables(planted.tables(*runs))
    assert len(table.rows) > LONG and not table.folded


def test_the_page_says_how_the_table_is_sorted_before_anyone_sorts_it(tmp_path):
    html = page(results(tmp_path, *EXPLAINED))
    (head,) = re.findall(r'<table class="sortable sorted">\n<thead>(.*?)</thead>', html)
    assert head.count('aria-sort="ascending"') == 1
    assert '<th scope="col" class="n" aria-sort="ascending"><button type="button">perplexity ×</button></th>' in head
    assert head.count("<button") == head.count("<th ") > 15
    assert html.count('<dl class="meanings">') == 1
    assert "MiB" not in head
    frame = speed_of(planted.tables(*EXPLAINED), [300.0, 400.0])
    said = {"study": planted.STUDY, "table": "speed"}
    write_table(
        tmp_path / "tables/speed.parquet", frame.fillna(0).astype({"segment": int, "edits": int}), "speed", said
    )
    assert '<button type="button">MiB</button>' in page(tmp_path)


def test_markdown_has_the_same_table_with_its_meanings(tables):
    text = as_markdown(side_by_side_tables(tables))
    assert "\n* drift: ‖W − W₀‖ / ‖W₀‖ of the edited matrices together.\n" in text
    assert "\n| editor | family | perplexity × | S lost |" in text


def ranked(*runs):
    return rank_explanations(at_the_end(side_by_side(planted.tables(*runs))))


def test_the_sentence_says_what_orders_best_or_that_it_cannot_be_told():
    alike = best_explanation(ranked(*EXPLAINED))
    assert alike.startswith(
        "Over 6 editors, growth of the norm orders damage to perplexity best: rank correlation +1.00"
    )
    assert "does not tell it from drift (+1.00)" in alike
    few = best_explanation(ranked(*EXPLAINED[:3]))
    assert few.endswith("by damage cannot be told: 3 editors with all columns, and 5 are needed.")
    told = ranked(*EXPLAINED)
    sure = best_explanation(type(told)(told.damage, 6, told.explained, ()))
    assert "surely better than drift (+1.00)" in sure and "Over 3 families" not in sure
    still = {"growth": 0.0, "noise": 0.0, "turn": 0.0, "rotation": 0.0}
    nothing = [Run(editor=e, perplexity_growth=g, **still, **SMALL) for e, g in RATES.items()]
    tables = planted.tables(*nothing)
    tables["activations"]["ratio_of_norms"] = 1.0
    unmoved = rank_explanations(at_the_end(side_by_side(tables)))
    assert "cannot be told: none of them differs from editor to editor" in best_explanation(unmoved)
