"""The causal trace against plain float64 passes, and on a model whose fact sits where it was put."""

import copy
from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from normgrowth.lm.model import language_model
from normgrowth.measure import causal_trace
from normgrowth.measure.causal_trace import Effects, average, effects_on, noise_size, window_around
from normgrowth.seeds import derive
from tests.support import small_models
from tests.support.architectures import ARCHITECTURES, language_model_of

NOISE, SEED, SAMPLES = 0.8, 4, 3


class Plain:
    """A model in float64, read and changed at modules by their names."""

    def __init__(self, lm, fact):
        self.model = copy.deepcopy(lm.model).double()
        self.gpt2 = hasattr(self.model, "transformer")
        text = f"{fact.question} {fact.target_true}"
        encoding = lm.tokenizer(text, return_offsets_mapping=True)
        self.ids, spans = encoding["input_ids"], encoding["offset_mapping"]
        begin = fact.question.index(fact.subject)
        inside = range(begin, begin + len(fact.subject))
        self.subject = [i for i, span in enumerate(spans) if set(range(*span)) & set(inside)]
        self.object = [i for i, span in enumerate(spans) if span[1] > len(fact.question) and i > self.subject[-1]]
        self.embeddings = self.model.get_input_embeddings()(torch.tensor([self.ids]))

    def module(self, layer, site):
        block = self.model.transformer.h[layer] if self.gpt2 else self.model.model.layers[layer]
        if site == "residual":
            return block
        return block.mlp.c_proj if self.gpt2 else block.mlp.down_proj

    def state(self, place):
        """The clean activation at the subject's last token."""
        kept = []
        handle = self.module(*place).register_forward_hook(lambda _, __, output: kept.append(self._first(output)))
        self.probability(self.embeddings)
        handle.remove()
        return kept[0][0, self.subject[-1]]

    def probability(self, embeddings, put_back=()):
        """Probability of the whole object, with activations at the subject's last token put back at some places."""
        states = [(place, self.state(place)) for place in put_back]
        handles = [self.module(*place).register_forward_hook(self._setter(state)) for place, state in states]
        predicted = self.model(inputs_embeds=embeddings, use_cache=False).logits[0].softmax(-1)
        for handle in handles:
            handle.remove()
        probability = 1.0
        for i in self.object:
            probability *= predicted[i - 1, self.ids[i]].item()
        return probability

    def _setter(self, state):
        def change(_module, _inputs, output):
            self._first(output)[0, self.subject[-1]] = state
            return output

        return change

    @staticmethod
    def _first(output):
        return output[0] if isinstance(output, tuple) else output


@torch.no_grad()
def plain_effects(lm, fact):
    """The effects, one pass after the other."""
    plain = Plain(lm, fact)
    generator = torch.Generator().manual_seed(derive(SEED, "causal trace", fact.case_id))
    draws = NOISE * torch.randn(SAMPLES, len(plain.subject), small_models.WIDTH, generator=generator).double()

    def under_noise(*put_back):
        found = 0.0
        for draw in draws:
            embeddings = plain.embeddings.clone()
            embeddings[0, plain.subject] += draw
            found += plain.probability(embeddings, put_back) / len(draws)
        return found

    layers = range(small_models.N_LAYERS)
    corrupted = under_noise()
    return Effects(
        plain.probability(plain.embeddings),
        corrupted,
        tuple(under_noise((layer, "residual")) - corrupted for layer in layers),
        tuple(
            under_noise(*((inside, "mlp_output") for inside in window_around(layer, len(layers)))) - corrupted
            for layer in layers
        ),
    )


def ends_in_its_subject(fact):
    """A fact whose prompt ends in its subject, and whose object is one token."""
    return replace(fact, prompt="The home is {}", target_true="Oslo")


@pytest.mark.parametrize("window_share", [causal_trace.WINDOW_SHARE, 0.75])
def test_effects_equal_those_of_plain_passes_in_float64(lm, monkeypatch, window_share):
    monkeypatch.setattr(causal_trace, "WINDOW_SHARE", window_share)
    facts = [*small_models.facts()[:4], ends_in_its_subject(small_models.facts()[4])]
    largest = 0.0
    for fact in facts:
        found, expected = effects_on(lm, fact, NOISE, SEED, SAMPLES), plain_effects(lm, fact)
        for name in Effects._fields:
            assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-4, abs=1e-8), name
        largest = max(largest, *map(abs, (*found.residual, *found.mlp)))
    assert largest > 1e-5


def test_several_states_in_one_pass_give_the_same_effects(lm, monkeypatch):
    fact = small_models.facts()[3]
    whole = effects_on(lm, fact, NOISE, SEED)
    monkeypatch.setattr(causal_trace, "TOKENS_PER_PASS", 1)
    single = effects_on(lm, fact, NOISE, SEED)
    assert whole.residual == pytest.approx(single.residual, abs=1e-6)
    assert whole.mlp == pytest.approx(single.mlp, abs=1e-6)


def test_without_noise_nothing_has_an_effect(lm):
    found = effects_on(lm, small_models.facts()[0], 0.0, SEED)
    assert found.total == pytest.approx(0, abs=1e-7)
    assert (*found.residual, *found.mlp) == pytest.approx([0.0] * 2 * small_models.N_LAYERS, abs=1e-7)


def test_the_last_state_that_the_answer_is_read_from_brings_everything_back(lm):
    fact = ends_in_its_subject(small_models.facts()[0])
    assert len(lm.tokenizer(" Oslo", add_special_tokens=False)["input_ids"]) == 1
    found = effects_on(lm, fact, NOISE, SEED)
    assert abs(found.total) > 1e-5
    assert found.residual[-1] == pytest.approx(found.total, rel=1e-3)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_does_so_in_every_family(name):
    lm = language_model_of(name)
    found = effects_on(lm, ends_in_its_subject(small_models.facts()[0]), noise_size(lm, small_models.facts()), SEED)
    assert abs(found.total) > 1e-6
    assert found.residual[-1] == pytest.approx(found.total, rel=1e-2)
    assert len(set(found.residual)) == len(found.residual) and len(set(found.mlp)) == len(found.mlp)


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_in_bfloat16_effects_are_near(architecture):
    lm = small_models.language_model_of(architecture)
    fact = ends_in_its_subject(small_models.facts()[0])
    exact = effects_on(lm, fact, NOISE, SEED)
    rough = effects_on(replace(lm, precision=torch.bfloat16), fact, NOISE, SEED)
    assert rough.clean == pytest.approx(exact.clean, rel=0.1)
    assert rough.residual[-1] == pytest.approx(exact.residual[-1], rel=0.2, abs=1e-4)


def test_a_state_that_nothing_reads_any_more_brings_nothing_back(lm):
    found = effects_on(lm, small_models.facts()[0], NOISE, SEED)
    assert abs(found.total) > 1e-5
    assert (found.residual[-1], found.mlp[-1]) == pytest.approx((0, 0), abs=1e-7)


def test_a_trace_leaves_the_model_as_it_was(lm):
    ids = torch.tensor([[1, 2, 3]])
    before = lm.model(ids).logits
    effects_on(lm, small_models.facts()[0], NOISE, SEED)
    assert torch.equal(lm.model(ids).logits, before)


def test_draws_of_a_fact_depend_on_no_other(lm):
    facts = small_models.facts()
    alone = effects_on(lm, facts[2], NOISE, SEED)
    effects_on(lm, facts[1], NOISE, SEED)
    assert effects_on(lm, facts[2], NOISE, SEED) == alone
    assert effects_on(lm, facts[2], NOISE, SEED + 1) != alone


def test_the_noise_is_three_standard_deviations_of_the_subjects_embeddings(lm):
    facts = small_models.facts()
    rows = []
    for fact in facts:
        plain = Plain(lm, fact)
        rows.append(plain.embeddings[0, plain.subject])
    assert noise_size(lm, facts) == pytest.approx(3 * torch.cat(rows).std().item(), rel=1e-5)


def test_windows_have_the_sources_share_of_the_depth_and_end_with_the_model():
    assert window_around(20, 48) == range(15, 25)
    assert window_around(0, 48) == range(0, 5)
    assert window_around(47, 48) == range(42, 48)
    assert window_around(1, 4) == range(1, 2)


def planted_model(fact, fact_layer=1, reading_layer=2):
    """A GPT-2 that knows one fact: the MLP of one layer writes it at the subject, the attention of another carries it.

    Channel 0 marks the subject's last token, channel 1 all others. The MLP of `fact_layer` fires where channel 0
    stands out, and writes channel 5. The attention of `reading_layer` averages channel 5 of all tokens so far into
    channel 6, from which the head reads the object. All else is zero.
    """
    tokenizer = small_models.tokenizer("gpt2")
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=4, n_head=1, n_positions=64, tie_word_embeddings=False,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    for name, parameter in model.named_parameters():
        parameter.data.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)
    *_, marked = tokenizer(fact.question[: fact.subject_span[1]])["input_ids"]
    (answer,) = tokenizer(f" {fact.target_true}")["input_ids"]
    embedding = model.transformer.wte.weight.data
    embedding[:, 1] = 1.0
    embedding[marked, :2] = torch.tensor([1.0, 0.0])
    mlp = model.transformer.h[fact_layer].mlp
    mlp.c_fc.weight.data[0, 0], mlp.c_fc.bias.data[0] = 10.0, -40.0  # fires above 4; a lone channel norms to 5.6
    mlp.c_proj.weight.data[0, 5] = 2.0
    attention = model.transformer.h[reading_layer].attn
    attention.c_attn.weight.data[5, 64 + 5] = 1.0  # values stand behind queries and keys
    attention.c_proj.weight.data[5, 6] = 10.0
    model.lm_head.weight.data[answer, 6] = 6.0
    return language_model(model, tokenizer)


@pytest.mark.parametrize("fact_layer", [0, 1])
def test_a_planted_fact_is_found_where_it_sits(fact_layer):
    fact = replace(small_models.facts()[3], prompt="{} was born in", target_true="Oslo")
    lm = planted_model(fact, fact_layer)
    found = average([effects_on(lm, fact, noise_size(lm, [fact]), SEED, samples=20)])
    assert found.clean > 0.9 and found.corrupted < 0.5
    assert found.peak == fact_layer
    by_mlp = [found.share(layer) for layer in found.mlp]
    assert by_mlp[fact_layer] > 0.9
    assert [share for layer, share in enumerate(by_mlp) if layer != fact_layer] == pytest.approx([0] * 3, abs=1e-6)
    # The stream carries it until the attention of layer 2 has read it, behind layer 1.
    assert [round(found.share(layer), 1) for layer in found.residual] == [1.0, 1.0, 0.0, 0.0]


def test_averages_have_the_standard_error_over_facts():
    first = Effects(0.9, 0.1, (0.2, 0.4), (0.1, 0.6))
    second = Effects(0.7, 0.3, (0.4, 0.0), (0.3, 0.2))
    found = average([first, second])
    assert (found.facts, found.clean, found.corrupted, found.total) == pytest.approx((2, 0.8, 0.2, 0.6))
    assert [*found.residual[0], *found.mlp[1]] == pytest.approx([0.3, 0.1, 0.4, 0.2])
    assert found.share(found.mlp[1]) == pytest.approx(0.4 / 0.6)
    assert (found.peak, found.peak_beyond_first, found.agreeing) == (1, 1, 1)
    assert average([first]).mlp[0].error is None
    only_layer = average([first._replace(residual=(0.2,), mlp=(0.1,))])
    assert (only_layer.peak, only_layer.peak_beyond_first) == (0, None)
    at_first = average([first._replace(mlp=(0.9, 0.2))])
    assert (at_first.peak, at_first.peak_beyond_first) == (0, 1)
    assert average([first._replace(corrupted=0.95)]).share(found.mlp[1]) == 0
