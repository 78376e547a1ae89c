"""Sentences of many scripts: a model that has learnt one by heart says it, whoever asks."""

import math
from dataclasses import replace

import pytest
import torch

from benchmarks import plain
from normgrowth.editors.finetune.fine_tuning import FineTuning
from normgrowth.editors.ft import Settings
from normgrowth.editors.locate.search_rows import lay_out, prompts_of
from normgrowth.errors import FactError
from normgrowth.lm.context_templates import _templates
from normgrowth.lm.continuations import continuations
from normgrowth.lm.prompt_lengths import require_edits
from normgrowth.lm.tokens import encode, encode_with_target, last_token_of
from normgrowth.measure.generation import matches
from normgrowth.measure.scores import score_facts
from tests.support import scripts, small_models

BOTH = pytest.mark.parametrize("kind", scripts.CHARACTERS_IN_PIECES)
EVERY = pytest.mark.parametrize("name", scripts.SENTENCES)


def probability(lm, text: str, target: str) -> float:
    """Product of the probabilities of the tokens that hold the target, read off one plain pass."""
    encoding = lm.tokenizer(text, return_offsets_mapping=True)
    begin = len(text) - len(target)
    ids = torch.tensor([encoding["input_ids"]])
    with torch.no_grad():
        logs = lm.model(input_ids=ids).logits[0].double().log_softmax(-1)
    held = [i for i, (start, end) in enumerate(encoding["offset_mapping"]) if end > begin and end > start]
    return math.exp(sum(logs[i - 1, ids[0, i]].item() for i in held))


@BOTH
@EVERY
def test_a_sentence_learnt_by_heart_is_said(kind, name):
    sentence, lm = scripts.SENTENCES[name], scripts.learnt_by_heart(kind, name)
    fact = scripts.fact_of(sentence)
    whole = probability(lm, sentence.written, sentence.target)
    assert whole > 0.95
    (scores,) = score_facts(lm, [fact]).to_dict("records")
    assert (scores["es"], scores["ea"]) == (1, 1) and scores["em"] > 0.9
    assert matches(lm, [fact]) == [1.0]
    ids, first = encode_with_target(lm.tokenizer, fact.question, fact.target_new)
    assert list(ids) == lm.tokenizer(sentence.written)["input_ids"]
    assert lm.tokenizer.decode(ids[first:]).strip() == sentence.target
    loss = continuations(lm, [(fact.question, fact.target_new)])
    with torch.no_grad():
        assert math.exp(-loss.losses(loss.predictions(lm)).item() * (len(ids) - first)) == pytest.approx(
            whole, abs=0.02
        )
    assert plain.loss_of(lm, fact.question, fact.target_new)[1]


@BOTH
@EVERY
def test_searches_and_fine_tuning_look_where_the_sentence_has_its_object(kind, name):
    sentence, lm = scripts.SENTENCES[name], scripts.learnt_by_heart(kind, name)
    fact = scripts.fact_of(sentence)
    ids = lm.tokenizer(sentence.written)["input_ids"]
    rows = lay_out(lm, [prompts_of(lm, fact, ["{}"])])
    with torch.no_grad():
        predicted = lm.logits(lm.hidden(rows.ids, rows.mask)).log_softmax(-1)
    logs = predicted[rows.scored_row, rows.scored_position, rows.scored_token]
    assert logs.sum().exp().item() > 0.95
    # The subject's last token ends where the subject does, unless another letter shares it.
    start = sentence.written.index(sentence.subject)
    span = (start, start + len(sentence.subject))
    position = rows.subject_last[rows.bare].item()
    begin, end = encode(lm.tokenizer, sentence.written).spans[position]
    assert begin < span[1] <= end and position == last_token_of(encode(lm.tokenizer, fact.question), fact.subject_span)
    editor = FineTuning(Settings(layers=(0,), steps=1))
    weights = editor._wanted(lm, [tuple(ids[rows.scored_position.min() + 1 :])])
    assert weights.sum().item() == pytest.approx(1)


@BOTH
def test_fine_tuning_of_what_is_known_ends_at_once(kind):
    """One token of its own for the object: the loss of the published baseline is that of the sentence."""
    sentence = scripts.SENTENCES["chinese"]
    tokenizer = scripts.tokenizer_of(kind, (sentence.written[:-2], "巴黎", "巴黎", "去，巴黎城"), merges=100)
    lm = scripts.model_that_says(tokenizer, sentence.written)
    ids, first = encode_with_target(tokenizer, "法国的首都是", "巴黎")
    assert len(ids) - first == 1
    settings = Settings(layers=(0,), steps=5, stop_loss=0.05)
    (record,) = FineTuning(settings).edit(lm, {}, [scripts.fact_of(sentence)]).records
    assert record.search_steps == 0


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("byte_level", name) for name in ("chinese", "japanese", "thai", "lao")),
        *(("byte_fallback", name) for name in ("chinese", "japanese", "thai", "lao", "khmer", "myanmar")),
    ],
)
def test_an_object_without_tokens_of_its_own_is_refused(kind, name):
    """A tokenizer trained on the sentence until one token holds the prompt's end and the object's beginning."""
    sentence = scripts.SENTENCES[name]
    tokenizer = scripts.tokenizer_of(kind, (sentence.written,) * 5, merges=400)
    question = scripts.fact_of(sentence).question
    with pytest.raises(FactError) as refused:
        encode_with_target(tokenizer, question, sentence.target)
    said = str(refused.value)
    assert (
        f"target {sentence.target!r} after {question!r} has no tokens of its own in this tokenizer: one token, " in said
    )
    assert "holds the prompt's end and the target's beginning" in said and "\n" not in said


def test_a_run_refuses_such_an_object_before_its_first_edit():
    sentence = scripts.SENTENCES["chinese"]
    tokenizer = scripts.tokenizer_of("byte_level", (sentence.written,) * 5, merges=400)
    lm = replace(small_models.language_model_of("gpt2"), tokenizer=tokenizer)
    fact = scripts.fact_of(sentence)
    with pytest.raises(FactError, match=rf"^case {fact.case_id}: target .* has no tokens of its own"):
        require_edits(lm, [fact])


@BOTH
def test_characters_split_over_tokens_are_whole_in_the_target(kind):
    """Not one of the characters is a token, so that each takes three or four."""
    tokenizer = scripts.tokenizer_of(kind, ("abc",), merges=8)
    for prompt, target in [("法国的首都是", "巴黎"), ("店の名は", "𠮷野家"), ("He likes", "😀👍🏽"), ("ជា", "ភ្នំពេញ")]:
        ids, first = encode_with_target(tokenizer, prompt, target)
        assert tokenizer.decode(ids[first:]).strip() == target
        assert len(ids) - first >= len(target.encode())
        assert ids[:first] == encode(tokenizer, prompt).ids


def test_blanks_are_counted_once():
    tokenizer = scripts.tokenizer_of("byte_level", ("Jan lives in Rome",), merges=50)
    asked = encode_with_target(tokenizer, "Jan lives in", "Rome")
    for prompt, target in [("Jan lives in ", "Rome"), ("Jan lives in", " Rome"), ("Jan lives in \u00a0", " Rome")]:
        assert encode_with_target(tokenizer, prompt, target) == asked
    assert encode(tokenizer, "Jan lives in ").ids == encode(tokenizer, "Jan lives in").ids == asked[0][: asked[1]]


def test_contexts_end_as_sentences_of_their_script_do():
    texts = ["The day", "因为 法国", "そうだ。", "ประเทศไทย", "ប្រទេស"]
    assert _templates(texts) == ["{}", "The day. {}", "因为 法国。{}", "そうだ。{}", "ประเทศไทย {}", "ប្រទេស។ {}"]
