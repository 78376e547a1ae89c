"""Snakemake's own report: what it holds, under which captions and labels, and what it can be switched between."""

import html
import json
import re
import zipfile
from collections import Counter
from typing import NamedTuple

import pytest

from normgrowth.figures.catalogue import FIGURES, figures_of

MODELS, EDITORS = ("world-gpt2", "world-llama"), ("ft", "r_rome", "memit")


class Report(NamedTuple):
    """The page of a report, as it lies in its archive."""

    page: str
    files: list[str]

    def data(self, variable: str):
        """What a script of the page keeps under a name."""
        (value,) = re.findall(rf'<script id="[\w-]+">\s*var {variable} = (.*);\s*</script>', self.page)
        return json.loads(value)

    def results(self, category: str) -> dict[str, dict[str, dict]]:
        """The results of a category by subcategory and path."""
        everything = self.data("results")
        subcategories = self.data("categories")[category]
        return {name: {path: everything[path] for path in paths} for name, paths in subcategories.items()}


@pytest.fixture
def without_network(monkeypatch):
    """Whatever asks for another machine fails at once."""
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")


def report(tree, *targets) -> Report:
    run = tree.snakemake(*targets, "--report", "report.zip")
    assert run.returncode == 0, run.stdout
    with zipfile.ZipFile(tree.folder / "report.zip") as archive:
        return Report(archive.read("report/report.html").decode(), archive.namelist())


def test_every_figure_has_its_caption_and_stands_under_its_subject(tree, without_network):
    made = report(tree)
    figures = made.results("Figures")
    assert set(figures) == {"Weights", "Activations", "Knowledge and ability"}
    by_path = {path: (subject, result) for subject, results in figures.items() for path, result in results.items()}
    assert set(by_path) == {f"results/demo/figures/{name}.svg" for name in figures_of(EDITORS)}
    for path, (subject, result) in by_path.items():
        entry = FIGURES[path.split("/")[-1].removesuffix(".svg")]
        assert (subject, result["labels"]) == (entry.subject, {"figure": entry.title})
        assert html.unescape(re.sub("<[^>]+>", "", result["caption"])).strip() == entry.caption
        assert f"report/{result['data_uri']}" in made.files
        assert "caption" not in result["job_properties"]["params"]


def test_claims_provenance_and_the_study_are_told(tree):
    made = report(tree)
    held = {path for category in ("Claims", "Provenance") for path in made.results(category)["Other"]}
    assert held == {f"results/demo/{name}" for name in ("claims.md", "report.html", "provenance.json")}
    assert all(result["caption"] and result["labels"] for result in made.data("results").values())
    opening = made.data("workflow_desc")
    assert "study demo" in opening and "snakemake cards" in opening
    assert all(name in opening for name in (*MODELS, *EDITORS))
    assert "system-message" not in made.page  # of docutils, on faulty markup
    assert set(made.data("categories")) == {"Claims", "Figures", "Provenance"}


def cards_of(tree) -> dict[str, dict[str, dict]]:
    run = tree.snakemake("cards", "--cores", "2")
    assert run.returncode == 0, run.stdout
    made = report(tree, "cards")
    assert set(made.data("categories")) == {"Claims", "Figures", "Provenance", "Runs"}
    return made.results("Runs")


def test_every_card_has_one_set_of_labels_and_the_models_can_be_switched(tree):
    (cards,) = cards_of(tree).values()
    labels = [result["labels"] for result in cards.values()]
    assert {tuple(label.values()) for label in labels} == {(editor, model) for editor in EDITORS for model in MODELS}
    assert len(labels) == len(EDITORS) * len(MODELS)
    # Snakemake makes a switch of a label that is not the first, and whose two values are equally frequent.
    assert all(list(label) == ["editor", "model"] for label in labels)
    assert set(Counter(label["model"] for label in labels).values()) == {len(EDITORS)}
    assert all(f"{result['labels']['editor']}</tt>" in result["caption"] for result in cards.values())


def test_editors_that_some_models_lack_do_not_cost_the_others_their_switch(tree):
    tree.change_config(left_out={"world-llama": ["memit"]})
    cards = cards_of(tree)
    assert {name: len(results) for name, results in cards.items()} == {
        "Editors of every model": 4,
        "Editors of some models": 1,
    }


def test_cards_are_made_on_demand_only(tree):
    assert tree.plan().jobs == {}
    plan = tree.plan("cards")
    assert {rule: count for rule, count in plan.jobs.items() if rule != "cards"} == {"card": 6}
    assert len(plan.about("Draw the run of memit on world-llama")) == 1


def test_other_words_under_a_figure_draw_nothing_again(tree):
    catalogue = tree.package / "figures/catalogue.py"
    text = catalogue.read_text()
    assert "Frobenius norm of the edited" in text
    catalogue.write_text(text.replace("Frobenius norm of the edited", "Size of the edited"))
    assert tree.plan().jobs == {"report": 1}
    assert "Size of the edited" in report(tree).page


def test_code_of_the_card_draws_cards_and_no_figure(tree):
    assert tree.snakemake("cards", "--cores", "2").returncode == 0
    tree.append("figures/card.py", "CHANGED = True")
    assert tree.plan().jobs == {}
    assert {rule for rule in tree.plan("cards").jobs if rule != "cards"} == {"card"}
