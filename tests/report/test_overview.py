"""The first screen: findings in words with their numbers, and the matrix of editors by claims."""

import pytest

from normgrowth.claims.judge import judge
from normgrowth.report.overview import MIXED, findings, matrix
from tests.support import planted
from tests.support.planted import Run

SMALL = {"edits": 20, "checkpoints": (10, 20), "n_layers": 3, "cases": 20}


@pytest.fixture(scope="module")
def claims():
    runs = (
        Run(editor="ft", growth=0.001, **SMALL),
        Run(editor="memit", **SMALL),
        Run(editor="r_rome", orders=3, **SMALL),
    )
    return judge(planted.tables(*runs), seed=0)["claims"]


def verdict_of(claims, name, editor):
    return [v for claim in claims if claim["id"] == name for v in claim["verdicts"] if v["editor"] == editor]


def test_the_matrix_has_a_row_per_editor_and_a_column_per_claim_with_verdicts(claims):
    made = matrix(claims)
    (rows,) = made.rows.values()
    assert [row.editor for row in rows] == ["ft", "r_rome", "memit"]  # families, as in every table
    judged = {claim["id"] for claim in claims if claim["verdicts"]}
    assert made.columns[0] == ("norm grows", "fine_tuning_edits_grow")
    assert {claim for _, claim in made.columns} <= judged
    assert all(len(row.cells) == len(made.columns) for row in rows)


def test_a_cell_says_the_effect_and_the_verdict(claims):
    made = matrix(claims)
    (rows,) = made.rows.values()
    cells = {(row.editor, made.columns[i][0]): cell for row in rows for i, cell in enumerate(row.cells)}
    (grown,) = verdict_of(claims, "locate_edits_grow", "memit")
    assert cells["memit", "norm grows"].text == f"×{grown['effect']:#.3g}"
    assert cells["memit", "norm grows"].status == grown["status"]
    (lost,) = verdict_of(claims, "editing_performance_declines", "ft")
    assert abs(100 * lost["effect"]) > 0.5  # less would be a plain 0
    assert cells["ft", "edited facts lost"].text == f"{100 * lost['effect']:+.0f}".replace("-", "−")


def test_a_cell_of_several_places_counts_those_that_support_the_claim(claims):
    made = matrix(claims)
    (rows,) = made.rows.values()
    column = [heading for heading, _ in made.columns].index("activations turn")
    for row in rows:
        found = [verdict["status"] for verdict in verdict_of(claims, "orientation_drifts", row.editor)]
        assert row.cells[column].text == f"{found.count('supported')} of {len(found)}"
        assert row.cells[column].status == (found[0] if len(set(found)) == 1 else MIXED)


def test_findings_count_runs_and_name_the_least_and_the_most(claims):
    told = dict(findings(claims))
    names = ("fine_tuning_edits_grow", "locate_edits_grow")
    grown = [v for name in names for editor in ("ft", "memit", "r_rome") for v in verdict_of(claims, name, editor)]
    supported = sum(verdict["status"] == "supported" for verdict in grown)
    least, most = (pick(grown, key=lambda verdict: verdict["effect"]) for pick in (min, max))
    assert told["Norms of edited matrices grow"] == (
        f"in {supported} of 3 runs: from ×{least['effect']:#.3g} ({least['editor']} on tiny-gpt2) "
        f"to ×{most['effect']:#.3g} ({most['editor']} on tiny-gpt2)."
    )
    assert "places in 3 runs" in told["Activations turn"]


def test_nothing_is_said_where_nothing_was_judged():
    empty = [{"id": "general_ability_declines", "title": "", "verdicts": [], "range": None}]
    assert findings(empty) == [] and matrix(empty).rows == {} and matrix([]).columns == []
