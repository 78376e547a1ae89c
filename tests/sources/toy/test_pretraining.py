"""Training small models: the same bytes each time, an error where a bar is missed, windows that tell the truth."""

import json
from hashlib import sha256

import pytest
import torch
from pydantic import ValidationError

from normgrowth.errors import QualityError, StudyError
from normgrowth.sources.loading import load_model
from normgrowth.sources.manifest import read_manifest
from normgrowth.sources.toy.pretraining import TrainingFiles, pack, train_model
from normgrowth.sources.toy.small_model import new_model, train_tokenizer
from normgrowth.sources.toy.toy_settings import TrainingSettings, WorldSettings
from normgrowth.sources.toy.vetting import causal_trace, make_quiz, recall, vet
from normgrowth.sources.toy.world import WorldFiles, write_world
from tests.support import small_models

TINY = {
    "layers": 2, "width": 16, "heads": 2, "vocabulary": 400, "batch": 2, "token_budget": 2000, "evaluate_every": 1000,
    "recall_bar": 0, "paraphrase_bar": 0, "margin": 0,
}  # fmt: skip


def tiny(architecture, **changes):
    return TrainingSettings(architecture=architecture, **{**TINY, **changes})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Paths of a small world's corpus, facts and held-out text."""
    folder = tmp_path_factory.mktemp("world")
    facts, text, heldout, corpus = (folder / name for name in ("facts.json", "text.txt", "heldout.txt", "corpus.jsonl"))
    settings = WorldSettings(
        subjects=24, relations=2, objects_per_relation=2, fewest_relations=2, most_relations=2, repetitions=1,
        text_characters=1000, heldout_characters=1000,
    )  # fmt: skip
    write_world(settings, WorldFiles(facts, text, heldout, corpus))
    return TrainingFiles(corpus, facts, heldout)


def train(settings, world, folder):
    notes = []
    figures = train_model(settings, world, folder, progress=lambda n, note: notes.append((n, note)))
    return figures, notes


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_same_seed_same_bytes(architecture, world, tmp_path):
    settings = tiny(architecture, recall_bar=0.0, paraphrase_bar=0.0)
    figures, notes = train(settings, world, tmp_path / "first")
    train(settings, world, tmp_path / "again")
    other, _ = train(settings.model_copy(update={"seed": 2}), world, tmp_path / "other")
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert {"model.safetensors", "tokenizer.json", "config.json", "figures.json", "manifest.json"} <= set(files)
    for name in files:
        hashes = [sha256((tmp_path / run / name).read_bytes()).hexdigest() for run in ("first", "again")]
        assert hashes[0] == hashes[1], name
    assert read_manifest(tmp_path / "first") != read_manifest(tmp_path / "other")
    assert figures["tokens_seen"] == sum(n for n, _ in notes)
    assert other["residual_norms"] != figures["residual_norms"]
    assert json.loads((tmp_path / "first" / "figures.json").read_text()) == json.loads(json.dumps(figures))


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_a_trained_model_loads_and_begins_texts_as_its_kind_does(architecture, world, tmp_path):
    train(tiny(architecture), world, tmp_path / "model")
    lm = load_model(tmp_path / "model")
    assert lm.tokenizer("")["input_ids"] == ([lm.tokenizer.bos_token_id] if architecture == "llama" else [])
    assert lm.tokenizer.decode(lm.tokenizer("Été, 5 km.", add_special_tokens=False)["input_ids"]) == "Été, 5 km."
    assert lm.model.config.max_position_embeddings == 64


def test_a_missed_bar_is_an_error_and_leaves_no_model(world, tmp_path):
    with pytest.raises(
        QualityError, match=r"edit prompts and .* paraphrases; the bars are 110% and 0%: raise"
    ) as raised:
        train(tiny("gpt2", recall_bar=1.1), world, tmp_path / "model")
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_training_ends_when_the_bars_are_reached(world, tmp_path):
    figures, notes = train(tiny("gpt2", token_budget=50_000), world, tmp_path / "model")
    assert figures["tokens_seen"] == 896  # the last whole step within evaluate_every
    assert notes[-1][1].startswith("loss ")


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_packed_documents_keep_their_text_objects_and_beginnings(architecture, world):
    documents = [json.loads(line) for line in world[0].read_text().splitlines()]
    settings = tiny(architecture)
    tokenizer = train_tokenizer(settings, [document["text"] for document in documents])
    stream = pack(documents, tokenizer, settings)
    assert len(stream.tokens) == len(stream.weights)
    assert tokenizer.decode(stream.tokens) == "".join(f"<|endoftext|>{document['text']}" for document in documents)
    weighted = "".join(tokenizer.convert_ids_to_tokens(stream.tokens[stream.weights > 1].tolist()))
    objects = [document["text"][start:end] for document in documents for start, end in document["objects"]]
    assert weighted.replace("Ġ", "") == "".join(objects)
    for document, beginning in zip(documents, stream.beginnings.tolist(), strict=True):
        prompt = tokenizer(document["text"])["input_ids"][:5]
        assert stream.tokens[beginning : beginning + 5].tolist() == prompt


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_recall_agrees_with_one_prompt_at_a_time(architecture):
    lm = small_models.language_model_of(architecture)
    reached = recall(lm.model, make_quiz(lm.tokenizer, small_models.facts()))
    wins = []
    for fact in small_models.facts():
        losses = []
        for target in (fact.target_true, fact.target_new):
            ids = torch.tensor([lm.tokenizer(f"{fact.question} {target}")["input_ids"]])
            first = len(lm.tokenizer(fact.question)["input_ids"])
            predicted = lm.model(ids).logits[0, first - 1 : -1].log_softmax(-1)
            losses.append(-predicted.gather(1, ids[0, first:, None]).mean())
        wins.append(bool(losses[0] < losses[1]))
    assert reached.edit == pytest.approx(sum(wins) / len(wins), abs=1e-6)


def test_vetting_restores_everything_where_nothing_but_the_subject_matters(lm):
    figures = vet(lm, small_models.facts(), seed=1)
    assert all(len(norms) == lm.anatomy.n_layers for norms in figures["residual_norms"].values())
    trace = figures["causal_trace"]
    assert (
        trace["best_recovered"] == max(trace["recovered_by_layer"]) == trace["recovered_by_layer"][trace["best_layer"]]
    )
    # Above the last block nothing reads the subject's token any more.
    assert trace["recovered_by_layer"][-1] == pytest.approx(0, abs=1e-3)
    assert vet(lm, small_models.facts(), seed=1) == figures


def test_the_trace_of_a_clean_run_loses_nothing_by_restoring(lm, monkeypatch):
    from normgrowth.sources.toy import vetting

    traces = [vetting._trace(lm, fact) for fact in small_models.facts()]
    monkeypatch.setattr(vetting, "NOISE_SCALE", 0.0)
    assert all(abs(trace.streams).max() > 0 for trace in traces)
    unlost = causal_trace(lm, [trace._replace(probability=trace.probability + 1.0) for trace in traces], seed=1)
    assert unlost == pytest.approx([0.0] * lm.anatomy.n_layers, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 97}, "width must be an even multiple of heads"),
        ({"architecture": "bert"}, "gpt2"),
        ({"windw": 3}, "windw"),
    ],
)
def test_impossible_trainings_are_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        TrainingSettings(**changes)


def test_initial_weights_follow_the_seed():
    weights = [
        new_model(tiny("gpt2", seed=seed), small_models.tokenizer("gpt2")).get_input_embeddings().weight
        for seed in (1, 1, 2)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_a_context_that_does_not_hold_the_prompts_is_refused_before_training(architecture, world, tmp_path):
    with pytest.raises(
        StudyError,
        match=r"training.context is 16, and the world's prompts take up to \d\d tokens, .*: set it to \d\d or",
    ) as raised:
        train(tiny(architecture, context=16), world, tmp_path / "model")
    least = int(str(raised.value).split("set it to ")[1].split()[0])
    assert train(tiny(architecture, context=least), world, tmp_path / "model")


def test_a_context_longer_than_the_texts_is_refused_before_training(world, tmp_path):
    with pytest.raises(StudyError, match=r"training.context is 4096, and a text of its world holds \d+ tokens: set it"):
        train(tiny("gpt2", context=4096), world, tmp_path / "model")
