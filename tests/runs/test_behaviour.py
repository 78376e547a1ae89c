"""Free generation, the cloze, and whole checkpoints with their tables."""

import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from benchmarks import plain
from normgrowth.facts.orthography import begins_with
from normgrowth.io.schemas import SCHEMAS, vector_schema
from normgrowth.io.tables import read_provenance, write_row_groups
from normgrowth.lm.generate import go_on
from normgrowth.measure.ability import CHOICES, cloze_items, cloze_rows
from normgrowth.measure.activations import activations_on, layers_named, make_probes, site_width, vector_groups
from normgrowth.measure.generation import generation_scores, ngram_entropy
from normgrowth.measure.material import Material
from normgrowth.measure.measure_settings import Measure
from normgrowth.runs.checkpoint import Checkpoint, measure_checkpoint
from tests.support import small_models

SETTINGS = {
    "fact_probes": 4,
    "text_probes": 6,
    "text_window": 12,
    "retention_facts": 3,
    "baseline_facts": 3,
    "perplexity_tokens": 60,
    "untouched_facts": 2,
    "generation_facts": 2,
    "generation_tokens": 6,
    "components": 2,
    "singular_values": 3,
}


@pytest.fixture(params=small_models.ARCHITECTURES)
def lm(request):
    return small_models.language_model_of(request.param)


def prompts_of(lm):
    return [lm.tokenizer(fact.question)["input_ids"] for fact in small_models.facts()]


def test_greedy_decoding_equals_one_token_at_a_time_without_a_cache(lm):
    """Prompts of several lengths run together and change nothing for each other."""
    prompts = prompts_of(lm)
    assert len({*map(len, prompts)}) > 1
    for prompt, found in zip(prompts, go_on(lm, prompts, 5), strict=True):
        ids = list(prompt)
        for _ in range(5):
            with torch.no_grad():
                ids.append(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax().item())
        assert ids[len(prompt) :] == found


def test_draws_belong_to_their_prompt_and_seed(lm):
    prompts = prompts_of(lm)
    whole = go_on(lm, prompts, 8, top_k=5, seed=3)
    assert go_on(lm, prompts[:2], 8, top_k=5, seed=3) == whole[:2]
    assert go_on(lm, prompts, 8, top_k=5, seed=4) != whole
    assert go_on(lm, [], 8) == []


def test_a_broken_model_still_writes_something(lm):
    lm.anatomy.down_projections[0].weight.fill_(math.nan)
    assert [len(row) for row in go_on(lm, prompts_of(lm)[:2], 3, top_k=5)] == [3, 3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Oslo, they say", True),
        ("Oslo", True),
        (" Oslonian", False),
        (" in Oslo", False),
        (" OSLO", False),
        ("", False),
    ],
)
def test_what_counts_as_saying_it(text, expected):
    assert begins_with(text, "Oslo") is expected


def test_entropy_of_words():
    assert ngram_entropy("a b a b a b a") == pytest.approx((2 / 3 * 1 + 4 / 3 * _h(3 / 5)) / 2)
    assert ngram_entropy("one two three four five six seven eight nine") > 2.5
    assert ngram_entropy("a a a a a a") == 0
    assert ngram_entropy("") == 0


def _h(p):
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def test_generations_are_matched_with_the_new_object(lm, monkeypatch):
    facts = small_models.facts()[:2]
    answers = iter([" New Delhi is far", " Oslonian", "x y z", "x y z"])
    ids = iter(lambda: lm.tokenizer(next(answers), add_special_tokens=False)["input_ids"], None)
    monkeypatch.setattr("normgrowth.measure.generation.go_on", lambda lm, prompts, *_: [next(ids) for _ in prompts])
    facts[0] = facts[0].__class__(**{**vars(facts[0]), "target_new": "New Delhi"})
    facts[1] = facts[1].__class__(**{**vars(facts[1]), "target_new": "Oslo", "generation_prompts": ()})
    found = generation_scores(lm, facts, 5, seed=0)
    assert found["generation_match"].tolist() == [1.0, 0.0]
    assert found["entropy"].notna().tolist() == [True, False]


def test_the_cloze_asks_among_objects_of_the_relation():
    facts = small_models.facts()
    items = cloze_items(facts, facts, seed=0)
    assert len(items) == len(facts)
    for item, fact in zip(items, facts, strict=True):
        assert item.choices[item.true] == fact.target_true
        assert len(set(item.choices)) == len(item.choices) <= CHOICES
        assert set(item.choices) <= {f.target_true for f in facts}
    assert items == cloze_items(facts, facts, seed=0) != cloze_items(facts, facts, seed=1)
    assert cloze_items(facts[:1], facts[:1], seed=0) == []


def test_cloze_takes_the_object_of_least_loss(lm):
    facts = small_models.facts()
    items = cloze_items(facts, facts, seed=0)
    accuracy, chance = cloze_rows(lm, items)
    losses = [[plain.loss_of(lm, item.prompt, choice)[0] for choice in item.choices] for item in items]
    right = [loss.index(min(loss)) == item.true for loss, item in zip(losses, items, strict=True)]
    assert accuracy["value"] == pytest.approx(sum(right) / len(right))
    assert chance["value"] == pytest.approx(sum(1 / len(item.choices) for item in items) / len(items))
    assert cloze_rows(lm, []) == []


@pytest.fixture
def material(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(small_models.SENTENCES), encoding="utf-8")
    facts = small_models.facts()
    return Material(facts, facts, text, text, 0, Measure(**SETTINGS))


def test_the_unedited_checkpoint_fills_every_table(lm, material):
    tables = measure_checkpoint(lm, material, Checkpoint(0, None, 0, {}))
    for name, frame in tables.items():
        missing = set(SCHEMAS[name].names) - {"study", "model", "editor", "order", "step"} - set(frame.columns)
        assert not missing, name
    scores = tables["scores"]
    assert scores["moment"].value_counts().to_dict() == {"unedited": 3, "untouched": 2}
    assert scores["generation_match"].notna().sum() == 2
    assert tables["spectra"]["left_rotation"].to_numpy() == pytest.approx(0, abs=1e-4)
    assert tables["subspaces"]["explained_change"].to_numpy() == pytest.approx(0)
    diagonal = tables["cka"][tables["cka"]["layer"] == tables["cka"]["unedited_layer"]]
    assert diagonal["cka"].dropna().to_numpy() == pytest.approx(1)
    text = diagonal[(diagonal["site"] == "residual") & (diagonal["token"] == "mean")]
    layers = lm.anatomy.n_layers
    assert len(text) == layers and len(tables["cka"]) - len(diagonal) == layers * (layers - 1)


def test_untouched_facts_are_the_same_until_edits_reach_them(material):
    facts = material.facts
    assert material.untouched(0) == material.untouched(len(facts) - 2) == facts[-2:]
    assert material.untouched(len(facts) - 1) == facts[-1:]
    assert material.untouched(len(facts)) == []


def test_vectors_are_kept_as_they_are_in_one_row_group_per_set(lm, material, tmp_path):
    probes = material.probes(lm)
    identity = {"study": "s", "model": "m", "editor": "e", "order": 0, "step": 0}
    for site in ("residual", "mlp_key"):
        path, width = tmp_path / f"{site}.parquet", site_width(lm, site)
        write_row_groups(path, vector_schema(width), vector_groups(lm, probes, [1, 3], site, identity), {"a": 1})
        file = pq.ParquetFile(path)
        assert file.metadata.num_row_groups == 2 * 4 and read_provenance(path) == {"a": 1}
        assert file.schema_arrow.field("vector").type.list_size == width
        found = activations_on(lm, probes, [1, 3])
        rows = file.read().to_pandas()
        for where, vectors in found.items():
            if where.site == site:
                keep = (rows["layer"] == where.layer) & (rows["probe"] == where.probe) & (rows["token"] == where.token)
                assert rows.loc[keep, "number"].tolist() == list(range(len(vectors)))
                assert np.array_equal(np.stack(rows.loc[keep, "vector"]), vectors.numpy())


def test_layers_may_count_from_the_end(lm):
    assert layers_named(lm, [-1, 0, 99, -99]) == [0, lm.anatomy.n_layers - 1]


def test_probes_are_the_same_whatever_is_measured_on_them(lm, material):
    again = make_probes(lm, material.facts[:4], material.probes(lm).text)
    assert torch.equal(material.probes(lm).text, again.text)
