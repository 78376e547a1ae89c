"""The record of what made a study: inputs that are verified, and are those that the tables were made from."""

import json
import shutil

import pytest

from normgrowth.cli import main
from normgrowth.io.digests import write_beside
from normgrowth.io.documents import read_json, write_json
from normgrowth.io.provenance import file_sha256, provenance
from normgrowth.io.tables import read_provenance, read_table, write_table
from normgrowth.sources.manifest import MANIFEST, revision
from tests.support import small_models
from tests.support.commands import IDENTITY, Workbench

NAMES = IDENTITY | {"model-name": "model"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two edits of a small model, measured, as tables; and every input with its digest beside it."""
    bench = Workbench(tmp_path_factory.mktemp("made"))
    results = bench.folder / "results" / "s"
    bench.edited_and_measured(results, **NAMES)
    numbers = ["--segments", "1", "--checkpoints", "0", "2"]
    for table in ("norms", "edits", "scores", "downstream"):
        out = ["--out", str(results / "tables" / f"{table}.parquet")]
        command = ["collect", "--study", "s", "--table", table, "--results", str(results), "--chains", "model/e/0"]
        assert main([*command, *numbers, *out]) == 0
    shutil.copy(bench.text, bench.folder / "heldout.txt")
    for path in (bench.facts, bench.text, bench.contexts, bench.folder / "heldout.txt"):
        write_beside(path, file_sha256(path))
    write_json(bench.model / "figures.json", {"model": revision(bench.model), "recall": 1.0})
    return bench.folder


@pytest.fixture
def study(made, tmp_path):
    """A copy of it for one test to change."""
    return shutil.copytree(made, tmp_path / "study")


def written(folder, **changes):
    """The exit code of the command; None takes an option out."""
    given = {
        "study": json.dumps({"study": "s"}), "models": folder / "model", "facts": folder / "facts.json",
        "text": folder / "text.txt", "heldout": folder / "heldout.txt", "contexts": folder / "contexts.json",
        "figures": folder / "model/figures.json", "out": folder / "provenance.json",
    } | changes  # fmt: skip
    words = [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
    return main(["provenance", *words, "--tables", *map(str, sorted((folder / "results/s/tables").iterdir()))])


def refused(folder, capsys, *said, **changes):
    """Assert that nothing is written, and one line says this."""
    assert written(folder, **changes) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert all(words in line for words in said), line
    assert not (folder / "provenance.json").exists()


def test_inputs_models_and_settings_are_written_down(study):
    assert written(study) == 0
    found = read_json(study / "provenance.json")
    paths = [study / name for name in ("model/manifest.json", "facts.json", "text.txt", "heldout.txt", "contexts.json")]
    assert found["inputs"] == {str(path): file_sha256(path) for path in paths}
    model = revision(study / "model")
    assert found["models"] == {"model": {"revision": model, "figures": {"model": model, "recall": 1.0}}}
    first = (study / "provenance.json").read_bytes()
    assert written(study) == 0 and (study / "provenance.json").read_bytes() == first


@pytest.mark.parametrize("content", [b"", b'{"files": {', b"\xff\xfe{}", b"x", b"[1]"])
def test_a_damaged_manifest_is_not_certified(study, capsys, content):
    (study / "model" / MANIFEST).write_bytes(content)
    refused(study, capsys, f"{study / 'model' / MANIFEST} is damaged (its bytes do not match the digest that")


def test_the_manifest_of_another_model_is_not_certified(study, capsys, tmp_path):
    other = small_models.save("llama", tmp_path / "other")
    for name in (MANIFEST, f"{MANIFEST}.sha256"):
        shutil.copy(other / name, study / "model" / name)
    refused(study, capsys, "config.json is not the file that manifest.json names")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_changed_model_is_not_certified(study, capsys, name):
    with open(study / "model" / name, "r+b") as file:
        file.seek(20)
        byte = file.read(1)
        file.seek(20)
        file.write(bytes([byte[0] ^ 1]))
    refused(study, capsys, f"{name} is not the file that manifest.json names")


def test_another_model_than_the_tables_were_made_with_is_not_certified(study, capsys, tmp_path):
    shutil.rmtree(study / "model")
    small_models.save("llama", study / "model")
    write_json(study / "model/figures.json", {"model": revision(study / "model")})
    table = study / "results/s/tables/downstream.parquet"
    refused(study, capsys, f"{table}: model/e was made on a model of revision ", "put the former input back, or delete")


@pytest.mark.parametrize("name", ["facts.json", "text.txt", "heldout.txt", "contexts.json"])
def test_changed_inputs_are_not_certified(study, capsys, name):
    with open(study / name, "ab") as file:
        file.write(b"\n")
    refused(
        study,
        capsys,
        f"{study / name} is damaged (its bytes do not match the digest that {name}.sha256 beside it says)",
    )


@pytest.mark.parametrize(
    ("name", "role"),
    [("facts.json", "facts"), ("text.txt", "text"), ("heldout.txt", "heldout"), ("contexts.json", "contexts")],
)
def test_inputs_other_than_those_of_the_tables_are_named(study, capsys, name, role):
    with open(study / name, "ab") as file:
        file.write(b"\n")
    write_beside(study / name, file_sha256(study / name))
    new = file_sha256(study / name)[:12]
    refused(study, capsys, f": model/e was made from {role} of SHA-256 ", f"but {study / name} has {new}...: put the")


def test_inputs_that_are_not_given_are_named(study, capsys):
    refused(study, capsys, "was made from contexts of SHA-256 ", "but none is at hand", contexts=None)


def test_figures_of_another_model_are_not_certified(study, capsys):
    for found in ({"model": "0" * 64}, {"recall": 1.0}, []):
        write_json(study / "model/figures.json", found)
        refused(study, capsys, f"{study / 'model/figures.json'} is of another model (revision ")
    (study / "model/figures.json").write_text("{}")
    refused(study, capsys, f"{study / 'model/figures.json'} is damaged")


def test_a_table_of_another_study_or_of_unknown_origin_is_named(study, capsys):
    table = study / "results/s/tables/norms.parquet"
    rows, made_by = read_table(table, "norms"), read_provenance(table)
    write_table(table, rows.assign(study="t"), "norms", {**made_by, "study": "t"})
    refused(study, capsys, f"{table} holds study 't', where study 's' belongs; delete it and run the workflow again")
    write_table(table, rows, "norms", provenance())
    refused(study, capsys, f"{table} does not say its study, table: another version of the package wrote it")
    write_table(table, rows, "norms", provenance(study="s", table="norms"))
    refused(study, capsys, f"{table} does not say what it was made from")
    made_by["runs"]["model/e"].pop("facts")
    write_table(table, rows, "norms", made_by)
    refused(study, capsys, f"{table}: model/e was made from facts that it does not name")


def test_a_damaged_table_is_named(study, capsys):
    table = study / "results/s/tables/norms.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"2")
    refused(study, capsys, f"{table} is damaged (")
