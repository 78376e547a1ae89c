"""The page of results says what the tables say, and its check tells when numbers are not of the code at hand."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from normgrowth.commands import claims
from normgrowth.io.documents import write_json
from tests.report.test_page import call
from tests.support import planted
from tests.support.planted import Run

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "results"))

import page  # noqa: E402  (stands beside the page that it makes, not in the package)
import recompute  # noqa: E402
import record  # noqa: E402

SMALL = {"edits": 20, "checkpoints": (10, 20), "n_layers": 3, "cases": 20}


@pytest.fixture(scope="module")
def tables():
    return planted.tables(Run(**SMALL), Run(editor="memit", orders=2, **SMALL))


@pytest.fixture(scope="module")
def made(tmp_path_factory, tables):
    folder = tmp_path_factory.mktemp("results") / planted.STUDY
    planted.write(folder / "tables", tables)
    out = ["--out-json", folder / "claims.json", "--out-md", folder / "claims.md"]
    call(claims, "--study", planted.STUDY, "--tables", folder / "tables", *out)
    write_json(folder / "provenance.json", {"models": {}})
    return record.record(planted.STUDY, None, [], folder.parent)


def test_the_page_is_what_template_and_records_give():
    assert page.PAGE.read_text(encoding="utf-8") == page.page(page.read_records(), page.read_records(page.ELSEWHERE))


def test_headings_of_the_page_follow_the_verdicts():
    records = page.read_records()
    text, claims = page.page(records, {}), records["demo"]["claims"]
    (ft_l,) = [
        v for v in claims["fine_tuning_edits_grow"]["verdicts"] if (v["model"], v["editor"]) == ("world-gpt2", "ft_l")
    ]
    ft_l["status"] = "negligible"
    said = {"norm_growth_tracks_damage": "hardly go together", "imbalance_harms": "neither control arm shows"}
    for claim in said:
        for verdict in claims[claim]["verdicts"]:
            verdict.update(status="negligible", low=None, high=None)
    changed = page.page(records, {})
    for words in ("the others: `ft_l` negligible", *said.values()):
        assert words in changed and words not in text


def test_the_page_says_of_weights_that_were_quantised():
    made = page.read_records().items()
    records = {name: kept for name, kept in made if not any("quantisation" in of for of in kept["models"].values())}
    assert "Weights of `" not in page.page(records, {})
    records["demo"]["models"]["world-gpt2"]["quantisation"] = "Q4_1 (79%), Q8_0 (21%), turned back into float32"
    said = "Weights of `world-gpt2`: Q4_1 (79%), Q8_0 (21%), turned back into float32."
    assert f"\n\n{said}\n\n## The default study" in page.page(records, {})


def test_a_record_holds_the_numbers_of_the_tables(made, tables):
    kept = page.Record(made)
    for editor, order in (("r_rome", 0), ("memit", 0), ("memit", 1)):
        run = {name: t[(t["editor"] == editor) & (t["order"] == order)] for name, t in tables.items()}
        last = run["norms"][(run["norms"]["step"] == 20) & (run["norms"]["role"] == "edited")]
        growth = np.exp(np.log(last["frobenius_ratio"]).mean())
        perplexity = run["downstream"][run["downstream"]["metric"] == "perplexity"].groupby("step")["value"].mean()
        for numbers in (kept.run("tiny-gpt2", editor, order), kept.at("tiny-gpt2", editor, 20, order)):
            assert numbers["norm_ratio"] == pytest.approx(growth, rel=1e-5)
            assert numbers["perplexity_ratio"] == pytest.approx(perplexity[20] / perplexity[0], rel=1e-5)
        immediate = run["scores"][run["scores"]["moment"] == "immediate"][["es", "ps", "ns"]].mean()
        scores = kept.at("tiny-gpt2", editor, 20, order)["scores"]["immediate"]
        assert scores == pytest.approx([*immediate, 3 / (1 / immediate).sum()], rel=1e-5)


def test_numbers_computed_without_the_package_agree(tmp_path):
    """Wrong ones are found: by a norm changed in the table after the claims were judged."""
    tables = planted.tables(
        Run(**SMALL), Run(editor="memit", orders=3, layers=(0, 1), **SMALL), Run(editor="ft", **SMALL)
    )
    scores = tables["scores"]
    scores.loc[(scores["moment"] == "retention") & (scores["step"] == 20), "moment"] = "final"
    planted.write(tmp_path / "tables", tables)
    out = ["--out-json", tmp_path / "claims.json", "--out-md", tmp_path / "claims.md"]
    call(claims, "--study", planted.STUDY, "--tables", tmp_path / "tables", *out)
    compared = recompute.differences(tmp_path)
    assert len(compared) > 30 and all(row[-1] for row in compared)
    assert {row[3] for row in compared} == {"effect", "low", "high"}
    last = (tables["norms"]["step"] == 20) & (tables["norms"]["editor"] == "ft")
    tables["norms"].loc[last, "frobenius"] *= 1.001
    planted.write(tmp_path / "tables", {"norms": tables["norms"]})
    assert {row[2] for row in recompute.differences(tmp_path) if not row[-1]} == {"ft"}


def test_rivals_stand_side_by_side_where_there_is_a_record_of_them(made, tables):
    records = page.read_records()
    assert "The rivals side by side" not in page.page(records, {}) or "rivals-smollm2-135m" in records
    rivals = json.loads(json.dumps(made).replace("tiny-gpt2", "smollm2-135m"))
    text = page.page(records | {"rivals-smollm2-135m": rivals}, {})
    section = text.partition("## The rivals side by side")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [row["editor"] for row in made["side_by_side"]] * 2
    ratios = tables["downstream"].query("metric == 'log_perplexity_change' and step == 20").groupby("editor")["value"]
    for row in rows:
        perplexity = np.exp(ratios.mean()[row.split("`")[1]])
        assert f" {perplexity:.3f} (" in row and row.count("|") == rows[0].count("|")
    assert "Which explanation orders the editors best by damage cannot be told: 2 editors" in section
    assert "* **drift**: ‖W − W₀‖" in section and "not finite" not in section


def test_a_run_that_broke_is_told_from_what_was_not_measured(made):
    rivals = json.loads(json.dumps(made).replace("tiny-gpt2", "smollm2-135m"))
    rivals["side_by_side"][0].update(norm_ratio=None)
    del rivals["side_by_side"][0]["drift"], rivals["side_by_side"][0]["norm_ratio_low"]
    text = page.page(page.read_records() | {"rivals-smollm2-135m": rivals}, {})
    assert " | not finite | – | " in text


def test_two_machines_are_compared_run_by_run(made):
    other = {"runs": [dict(run) for run in made["runs"] if run["editor"] == "memit"]}
    other["runs"][1]["norm_ratio"] *= 1.25
    found = page.differences(made, other, "norm_ratio")
    assert found["largest"] == pytest.approx(0.25) and found["editor"] == "memit"
    assert found["median"] == pytest.approx(1.25**0.5 - 1)


def test_a_number_that_is_not_in_the_record_is_no_number(made):
    with pytest.raises(LookupError, match="0 rows"):
        page.Record(made).run("tiny-gpt2", "rome")


def test_what_is_up_to_date_is_not_stale(made):
    assert page.stale(made["made_by"]) == []
    before = {**made["made_by"], "code": record.code(made["made_by"]["settings"], ())}  # of a record without columns
    assert len(before["code"]) < len(made["made_by"]["code"]) and page.stale(before) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda by: by["code"].__setitem__(0, by["code"][0].split("@")[0] + "@0"), "code of normgrowth"),
        (lambda by: by["libraries"].__setitem__(0, "torch==0.1"), "torch==0.1 then"),
        (lambda by: by["settings"].__setitem__("edits", 49), "setting edits"),
    ],
)
def test_what_was_made_otherwise_is_stale(made, change, said):
    by = json.loads(json.dumps(made["made_by"]))
    change(by)
    (found,) = page.stale(by)
    assert found.startswith(said)


def test_a_number_changed_by_hand_is_found(tmp_path, monkeypatch, capsys):
    changed = tmp_path / "results.md"
    changed.write_text(page.PAGE.read_text(encoding="utf-8").replace("1.", "2.", 1), encoding="utf-8")
    monkeypatch.setattr(page, "PAGE", changed)
    assert page.check() == 1
    assert "is not what docs/results makes" in capsys.readouterr().out
