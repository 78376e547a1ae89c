"""A model whose weights were quantised is said to be one wherever its numbers stand."""

import json

import pytest

from normgrowth.cli import main
from normgrowth.io.digests import write_beside
from normgrowth.io.documents import read_json
from normgrowth.io.provenance import file_sha256
from normgrowth.io.tables import read_provenance, read_quantised
from normgrowth.layout import CLAIM_TABLES
from normgrowth.sources.manifest import revision, write_manifest
from tests.support.commands import IDENTITY, Workbench

NOTE = "Q4_1 (79%), Q8_0 (21%), turned back into float32"
NAMES = IDENTITY | {"model-name": "model"}


def study(folder, source):
    """The results of two edits of a small model that comes from there."""
    bench = Workbench(folder)
    write_manifest(bench.model, source)
    results = folder / "results" / "s"
    bench.edited_and_measured(results, **NAMES)
    assert bench.run("single-edits", **NAMES, out=results / "single-edits/model/e.parquet") == 0
    trained = {"out": results / "interventions/model/e.parquet"}
    assert bench.run("intervene", **NAMES, **trained) == 0
    compared = {"out": results / "compared.parquet", "result": bench.model, "kind": "full_fine_tuning", "text": None}
    assert bench.run("intervene", **NAMES, **compared) == 0
    numbers = ["--segments", "1", "--checkpoints", "0", "2", "--chains", "model/e/0"]
    for table in (*CLAIM_TABLES, "single_edits", "interventions"):
        out = ["--out", str(results / "tables" / f"{table}.parquet")]
        assert main(["collect", "--study", "s", "--table", table, "--results", str(results), *numbers, *out]) == 0
    return bench


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    source = {"kind": "gguf", "sha256": "a" * 64, "quantisation": NOTE}
    return study(tmp_path_factory.mktemp("quantised"), source)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return study(tmp_path_factory.mktemp("plain"), {"kind": "local"})


def test_every_table_says_it(quantised):
    results = quantised.folder / "results" / "s"
    small = [path for path in results.rglob("*.parquet") if path.parent.name != "tables"]
    said = {path: read_provenance(path) for path in small}
    assert len(said) > 15 and {made_by["model_quantisation"] for made_by in said.values()} == {NOTE}
    assert said[results / "compared.parquet"]["result_quantisation"] == NOTE
    for path in (results / "tables").iterdir():
        assert {made_by["model_quantisation"] for made_by in read_provenance(path)["runs"].values()} == {NOTE}
    assert read_quantised(results / "tables", CLAIM_TABLES) == {"model": NOTE}


def test_a_model_that_was_not_quantised_is_not_mentioned(plain, capsys):
    results = plain.folder / "results" / "s"
    for path in results.rglob("*.parquet"):
        assert "quantisation" not in json.dumps(read_provenance(path))
    assert read_quantised(results / "tables", CLAIM_TABLES) == {}
    assert main(["summary", "--tables", str(results / "tables")]) == 0
    assert capsys.readouterr().out.startswith("### ")


def test_verdicts_and_summary_say_it(quantised, capsys):
    tables, out = quantised.folder / "results/s/tables", quantised.folder / "claims"
    files = ["--out-json", f"{out}.json", "--out-md", f"{out}.md"]
    assert main(["claims", "--study", "s", "--tables", str(tables), *files]) == 0
    assert read_json(f"{out}.json")["quantised"] == {"model": NOTE}
    line = f"Weights of `model`: {NOTE}."
    assert f"\n\n{line}\n\n" in (quantised.folder / "claims.md").read_text()
    capsys.readouterr()
    assert main(["summary", "--tables", str(tables)]) == 0
    assert capsys.readouterr().out.startswith(f"{line}\n\n### ")


def test_the_record_of_what_made_the_results_says_it(quantised):
    folder = quantised.folder
    for path in (quantised.facts, quantised.text, quantised.contexts):
        write_beside(path, file_sha256(path))
    words = ["--study", '{"study": "s"}', "--models", quantised.model, "--facts", quantised.facts]
    words += ["--text", quantised.text, "--heldout", quantised.text, "--contexts", quantised.contexts]
    words += ["--tables", folder / "results/s/tables/norms.parquet", "--out", folder / "provenance.json"]
    assert main(["provenance", *map(str, words)]) == 0
    model = {"revision": revision(quantised.model), "quantisation": NOTE}
    assert read_json(folder / "provenance.json")["models"] == {"model": model}
