"""Facts that come with the package, and those that a model knows: what a change brings about, and a whole run."""

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from normgrowth.facts.almanac.records import almanac_records
from normgrowth.facts.orthography import joined
from normgrowth.facts.records import read_facts
from normgrowth.io.tables import read_table
from normgrowth.sources.manifest import write_manifest
from tests.support import small_models
from tests.workflow.conftest import finished_study
from tests.workflow.small_study import small_study

ALMANAC = {"kind": "included", "name": "almanac"}
MODELS = ("world-gpt2", "world-llama")
SCORES = "results/demo/tables/scores.parquet"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study of included facts that has run to its end with stand-ins; not to be changed."""
    sources = {"world": {"kind": "world"}, "real": ALMANAC | {"known": True}}
    study = {"edits": 50, "editors": ["ft"], "facts": "real", "fact_sources": sources, "left_out": {}}
    return finished_study(tmp_path_factory.mktemp("included"), **study)


@pytest.fixture
def tree(made, tmp_path):
    """A copy of it, for one test to change."""
    return made.copy(tmp_path / "tree")


def words(tree, path: str) -> str:
    """The command that a stand-in was called with to write a file."""
    return (tree.folder / path).read_text()


def test_each_model_is_edited_with_the_facts_that_it_knows(tree):
    assert tree.plan().jobs == {}
    assert words(tree, "resources/facts/real.json").startswith("included-facts --name almanac")
    for model in MODELS:
        known = f"resources/facts/real/known-by-{model}.json"
        asked = words(tree, known)
        assert asked.startswith("known-facts") and "--facts resources/facts/real.json --needed 50" in asked
        run = f"results/demo/runs/{model}/ft/order-0/segment-1/state.safetensors"
        assert f"--facts {known}" in words(tree, run)
        measured = words(tree, f"results/demo/measurements/{model}/ft/order-0/after-50/scores.parquet")
        assert f"--facts {known}" in measured
        assert known in words(tree, "results/demo/provenance.json")


def test_a_changed_table_makes_the_facts_anew_and_asks_the_models_again(tree):
    with open(tree.package / "facts/almanac/countries.csv", "a") as file:
        file.write("Vanuatu,,Port Vila,,,vatu,Pacific Ocean,,\n")
    jobs = tree.plan().jobs
    assert (jobs["included_facts"], jobs["known_facts"], jobs["edit"]) == (1, 2, 2)
    assert not {"world", "train", "contexts"} & set(jobs)


def test_a_seed_or_a_limit_makes_the_facts_anew(tree):
    for change in ({"seed": 1}, {"limit": 900}):
        tree.change_config(fact_sources={"world": {"kind": "world"}, "real": ALMANAC | {"known": True} | change})
        plan = tree.plan()
        assert plan.jobs["included_facts"] == 1
        assert any(f"{name}: {value}" in plan.output for name, value in change.items())


def test_all_facts_instead_of_known_ones_ask_no_model(tree):
    tree.change_config(fact_sources={"world": {"kind": "world"}, "real": ALMANAC})
    jobs = tree.plan().jobs
    assert jobs["edit"] == 2 and not {"included_facts", "known_facts", "train"} & set(jobs)


def test_more_edits_ask_no_model_again(tree):
    tree.change_config(edits=100)
    jobs = tree.plan().jobs
    assert jobs["edit"] == 2 and "known_facts" not in jobs


@pytest.mark.slow
def test_a_model_is_edited_with_what_it_knows_of_the_real_world(tmp_path):
    measure = {"fact_probes": 8, "text_probes": 20, "generation_facts": 2, "generation_tokens": 8, "untouched_facts": 4}
    tree = small_study(
        tmp_path / "tree", facts="real", editors=["ft"], edits=8, segment=8, measure=measure,
        fact_sources={"people": {"kind": "world"}, "real": ALMANAC | {"limit": 60, "known": True}},
    )  # fmt: skip
    records = [record for record in almanac_records(0, 60) if record["subject_prompts"]][:14]
    teach(tree.folder / "given", records)
    run = tree.snakemake("--cores", "2", SCORES)
    assert run.returncode == 0, run.stdout
    known = tree.folder / "resources/facts/real/known-by-small.json"
    ids = {fact.case_id for fact in read_facts(known)}
    assert ids >= {record["case_id"] for record in records} and len(ids) < 55
    scores = read_table(tree.folder / SCORES, "scores")
    assert set(scores["case_id"]) <= ids
    before = scores[scores["moment"] == "unedited"]
    assert (before["es"] < 1).all() and before["rs"].notna().any()


def teach(folder, records: list[dict]) -> None:
    """Train the small model of a study until it can tell these facts."""
    model, tokenizer = small_models.model_of("gpt2", context=256), small_models.tokenizer("gpt2")
    rewrites = [record["requested_rewrite"] for record in records]
    told = [joined(r["prompt"].replace("{}", r["subject"]), r["target_true"]["str"]) for r in rewrites]
    rows = [tokenizer(text, return_tensors="pt")["input_ids"][0] for text in told]
    ids, labels = (pad_sequence(rows, batch_first=True, padding_value=value) for value in (0, -100))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(150):
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    write_manifest(folder, {"kind": "test"})
