"""The report stands alone, holds everything, and takes hostile names for what they are."""

import re
import shutil
from html.parser import HTMLParser

import pytest

from normgrowth.claims.paper_claims import CLAIMS
from normgrowth.commands import claims, report, summary
from normgrowth.errors import ArtefactError
from normgrowth.figures.catalogue import FIGURES
from normgrowth.figures.render import draw, save
from normgrowth.figures.style import Style, StyleSettings
from normgrowth.io.documents import read_json, write_json
from normgrowth.io.tables import read_table, write_table
from normgrowth.jobs.command_line import parse
from tests.support import planted
from tests.support.planted import Run

HOSTILE = "</script><img src=x onerror=alert(1)>"
STUDY = ["--study", planted.STUDY]
SHOWN = ["norm_against_edits", "perplexity_against_edits"]


def call(command, *arguments):
    kind = getattr(command, command.__name__.rpartition(".")[2].title())
    command.run(parse(kind, [str(argument) for argument in arguments]))


def results(folder, *runs):
    """A results folder as the workflow leaves it before the report."""
    tables = planted.tables(*runs)
    planted.write(folder / "tables", tables)
    for name in SHOWN:
        style = Style(StyleSettings(dpi=50))
        save(draw(name, tables, style), folder / "figures" / name, style, planted.STUDY)
    call(
        claims,
        *STUDY,
        "--tables",
        folder / "tables",
        "--out-json",
        folder / "claims.json",
        "--out-md",
        folder / "claims.md",
    )
    provenance = {
        "study": {"study": planted.STUDY, "edits": 20},
        "versions": {"normgrowth": "0.1.0"},
        "inputs": {"resources/facts.json": "ab" * 32},
        "models": {"tiny": {"recall": 0.99, "note": HOSTILE}},
    }
    write_json(folder / "provenance.json", provenance)
    return folder


def page(folder):
    call(report, *STUDY, "--results", folder, "--figures", *SHOWN, "--out", folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    small = {"edits": 20, "checkpoints": (10, 20), "n_layers": 3, "cases": 20}
    runs = (Run(**small), Run(editor=HOSTILE, **small), Run(editor="ft", collapse=10, **small))
    return results(tmp_path_factory.mktemp("results"), *runs)


class Elements(HTMLParser):
    """Collects start tags and checks that tags nest."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self):
        super().__init__()
        self.seen, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def elements(html):
    parser = Elements()
    parser.feed(html)
    assert not parser.open
    return parser.seen


def test_needs_nothing_from_outside(study):
    html = page(study)
    pictures = re.findall(r'"data:image/svg\+xml,[^"]*"', html)
    assert len(pictures) == len(SHOWN)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r'"data:image/svg\+xml,[^"]*"', "", html))
    for picture in pictures:
        named = re.sub(r" xmlns(:\w+)?='[^']*'", "", picture)
        assert not re.search(r"https?:|//[a-z]|@import|url\((?!%23)|href='(?!%23|data:)", named)
    for _, attributes in elements(html):
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))


def test_the_head_says_of_weights_that_were_quantised(study, tmp_path):
    assert "<dt>Weights</dt>" not in page(study)
    shutil.copytree(study, tmp_path / "quantised")
    judged = read_json(study / "claims.json") | {"quantised": {"a": "Q4_1 (79%), Q8_0 (21%)", "b": HOSTILE}}
    write_json(tmp_path / "quantised" / "claims.json", judged)
    html = page(tmp_path / "quantised")
    assert "<dt>Weights</dt><dd>a: Q4_1 (79%), Q8_0 (21%); b: &lt;/script&gt;" in html and HOSTILE not in html


def test_holds_every_claim_figure_and_run(study):
    html = page(study)
    for claim in CLAIMS:
        assert html.count(f'id="claim-{claim.id}"') == 1
    for name in SHOWN:
        assert f'id="figure-{name}"' in html and FIGURES[name].title in html
    for text in ("supported", "collapsed", "not measured", "Seconds per edit", "planted &amp; small", "ab" * 32):
        assert text in html


def test_links_within_the_page_lead_somewhere(study):
    seen = elements(page(study))
    ids = [attributes["id"] for _, attributes in seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for tag, a in seen if tag == "a"}
    assert targets <= set(ids)


def test_hostile_names_are_text(study):
    html = page(study)
    assert HOSTILE not in html and "&lt;img src=x" in html
    assert not [attributes for _, attributes in elements(html) if "onerror" in attributes]


def test_every_picture_is_described_and_every_heading_of_a_table_scoped(study):
    seen = elements(page(study))
    assert all(attributes.get("alt") for tag, attributes in seen if tag == "img")
    assert all("scope" in attributes for tag, attributes in seen if tag == "th")


def test_a_collapse_is_no_gap_in_the_tables(study):
    assert page(study).count("not finite") >= 3


def test_same_results_same_bytes(study):
    assert page(study) == page(study)


def test_missing_parts_are_named(study, tmp_path):
    with pytest.raises(ArtefactError, match=r"scores_against_edits\.svg does not exist"):
        call(report, *STUDY, "--results", study, "--figures", "scores_against_edits", "--out", tmp_path / "r.html")
    with pytest.raises(ArtefactError, match="is unknown"):
        call(report, *STUDY, "--results", study, "--figures", "nonsense", "--out", tmp_path / "r.html")
    with pytest.raises(ArtefactError, match=r"claims\.json does not exist"):
        call(report, *STUDY, "--results", tmp_path, "--out", tmp_path / "r.html")


def test_works_without_provenance_and_without_runs(tmp_path):
    planted.write(tmp_path / "tables", planted.tables())
    call(
        claims,
        *STUDY,
        "--tables",
        tmp_path / "tables",
        "--out-json",
        tmp_path / "claims.json",
        "--out-md",
        tmp_path / "c.md",
    )
    call(report, *STUDY, "--results", tmp_path, "--out", tmp_path / "report.html")
    assert "No provenance was recorded" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_study_is_known_by_its_name_in_the_provenance(study, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(study, folder)
    write_json(folder / "provenance.json", {"study": {"study": planted.STUDY, "description": "An imagined study."}})
    assert '<p class="lead">An imagined study.</p>' in page(folder)
    write_json(folder / "provenance.json", {"study": {"study": "another"}})
    with pytest.raises(ArtefactError, match="holds study 'another', where study 'planted & small' belongs"):
        page(folder)
    write_json(folder / "provenance.json", {"study": {"name": planted.STUDY}})
    with pytest.raises(ArtefactError, match="does not say its study"):
        page(folder)


def test_scores_are_explained_where_they_are_first_named(study):
    text = re.sub("<[^>]+>", "", page(study).partition("<body>")[2])
    assert text.index("efficacy, ES") < re.search(r"\bES\b(?<!efficacy, ES)", text).start()


def test_many_runs_are_folded_and_control_arms_named(tmp_path):
    small = {"edits": 20, "checkpoints": (10, 20), "n_layers": 3, "cases": 20}
    html = page(results(tmp_path, *planted.every_editor("world-gpt2", "world-llama", **small)))
    elements(html)
    assert "28 verdicts, by model and editor" in html and "Control arms" in html
    assert html.count("When runs break:") == 2 * 2  # a heading, and the name of its region
    assert html.count('<th scope="rowgroup"') == 2 * 4 + 2  # of runs by family, and the matrix by model
    assert "Single edits" not in html


def test_single_edits_are_shown_where_there_are_any(study, tmp_path):
    shutil.copytree(study, tmp_path / "results")
    planted.write(tmp_path / "results" / "tables", {"single_edits": planted.single_edits(Run(editor="ft"))})
    assert "Single edits" in page(tmp_path / "results")


def test_a_stream_has_its_scores_by_kind_of_edit(study, tmp_path):
    shutil.copytree(study, tmp_path / "results")
    edits = read_table(tmp_path / "results/tables/edits.parquet", "edits")
    names = ["study", "model", "editor", "order", "step", "case_id"]
    kinds = ["first", "repeat", "put_back"] * len(edits)
    stream = edits[names].assign(kind=kinds[: len(edits)], target_new="Oslo", target_true="Rome", former=None)
    tables = planted.write(tmp_path / "results" / "tables", {"stream": stream})
    assert "Scores by kind of edit" not in page(tmp_path / "results")  # left by a study that had a stream before
    said = {"study": planted.STUDY, "table": "scores", "runs": {"m/ft": {"stream": {"repeats": 0.3}}}}
    write_table(tables / "scores.parquet", read_table(tables / "scores.parquet"), "scores", said)
    assert "Scores by kind of edit" in page(tmp_path / "results")
    assert "Scores by kind of edit" not in page(study)


def test_the_summary_holds_every_table_as_markdown(study, capsys):
    call(summary, "--tables", study / "tables")
    shown = capsys.readouterr().out
    for title in ("When runs break: tiny-gpt2", "Norm of the edited matrices", "Scores over the run", "Seconds per"):
        assert f"### {title}" in shown
    for part in shown.split("### ")[1:]:
        rows = [line for line in part.splitlines() if line.startswith("| ")]
        assert len({line.count(" | ") for line in rows}) == 1 and len(rows) > 2
    call(summary, "--tables", study / "tables")
    assert capsys.readouterr().out == shown


def test_specificity_stands_beside_the_other_scores_where_facts_have_it(study, tmp_path, capsys):
    small = {"edits": 20, "checkpoints": (10, 20), "n_layers": 3, "cases": 20}
    html = page(results(tmp_path, Run(specificity=0.75, **small), Run(editor="ft", **small)))
    call(summary, "--tables", tmp_path / "tables")
    said = capsys.readouterr().out
    for text in (html, said):
        assert "RS, relation specificity, is the share" in text
    assert "<em>RS</em>, relation specificity" in html
    assert "| ES | PS | NS | S | RS | perplexity |" in said
    scores = read_table(tmp_path / "tables/scores.parquet", "scores")
    at_once = scores[(scores["moment"] == "immediate") & (scores["editor"] == "r_rome")]
    (row,) = (line for line in said.splitlines() if "r_rome | each just after" in line and line.count("|") == 11)
    assert row.split(" | ")[-2] == f"{100 * at_once['rs'].mean():.1f}"
    assert next(line.split(" | ")[-2] for line in said.splitlines() if "ft | each just after" in line) == "–"
    call(summary, "--tables", study / "tables")
    assert "RS" not in capsys.readouterr().out and "relation specificity" not in page(study)


def test_the_summary_of_no_runs_says_so(tmp_path, capsys):
    planted.write(tmp_path, planted.tables())
    call(summary, "--tables", tmp_path)
    assert capsys.readouterr().out == "No run has rows.\n"
