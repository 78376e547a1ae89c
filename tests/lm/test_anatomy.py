"""Parts are found from the module graph; hooks agree with the model's own hidden states."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from normgrowth.errors import ModelError
from normgrowth.lm.anatomy import anatomy_of
from normgrowth.lm.hooks import SITES, changing, reading
from normgrowth.runs.telemetry import frobenius
from normgrowth.sources.loading import load_model
from tests.support import small_models


def batch(lm):
    return lm.pad([lm.tokenizer(text)["input_ids"] for text in small_models.SENTENCES[:3]])


def test_finds_every_layer_of_the_right_width(lm):
    anatomy = lm.anatomy
    inner = 128 if hasattr(lm.model.config, "n_embd") else 88
    assert anatomy.n_layers == small_models.N_LAYERS
    assert all(p.matrix.shape == (small_models.WIDTH, inner) for p in anatomy.down_projections)
    assert all(p.matrix.shape == (small_models.WIDTH, small_models.WIDTH) for p in anatomy.attention_outputs)
    parameters = dict(lm.model.named_parameters())
    for projection in (*anatomy.down_projections, *anatomy.attention_outputs):
        assert parameters[projection.name] is projection.weight


def test_norms_equal_those_read_from_the_file(model_folder):
    lm = load_model(model_folder)
    stored = load_file(model_folder / "model.safetensors")
    for projection in lm.anatomy.down_projections:
        name = projection.name if projection.name in stored else projection.name.removeprefix("transformer.")
        assert frobenius(projection.matrix) == pytest.approx(stored[name].double().norm().item(), rel=1e-12)


def test_hooks_agree_with_hidden_states(lm):
    ids, mask = batch(lm)
    places = [(layer, site) for layer in range(lm.anatomy.n_layers) for site in SITES]
    with reading(lm.anatomy, places) as seen:
        states = lm.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    for layer in range(lm.anatomy.n_layers - 1):  # the last hidden state stands behind the final norm
        assert torch.equal(seen[layer, "residual"], states[layer + 1])
        module = lm.anatomy.down_projections[layer].module
        assert torch.equal(module(seen[layer, "mlp_key"]), seen[layer, "mlp_output"])
        before = states[layer]
        written = before + seen[layer, "attention_output"] + seen[layer, "mlp_output"]
        assert torch.allclose(written, states[layer + 1], atol=1e-5)


def test_trunk_and_head_give_the_models_logits(lm):
    ids, mask = batch(lm)
    expected = lm.model(input_ids=ids, attention_mask=mask).logits
    assert torch.equal(lm.logits(lm.hidden(ids, mask)), expected)


@pytest.mark.parametrize("site", SITES)
def test_adding_zero_changes_no_bit(lm, site):
    ids, mask = batch(lm)
    plain = lm.hidden(ids, mask)
    with changing(lm.anatomy, (1, site), lambda x: x + torch.zeros_like(x)):
        assert torch.equal(lm.hidden(ids, mask), plain)
    with changing(lm.anatomy, (1, site), lambda x: x + 1):
        assert not torch.equal(lm.hidden(ids, mask), plain)
    assert torch.equal(lm.hidden(ids, mask), plain)


def test_stopping_early_gives_the_same_activations(lm):
    ids, mask = batch(lm)
    places = [(0, "residual"), (1, "mlp_key")]
    with reading(lm.anatomy, places) as full:
        lm.hidden(ids, mask)
    with reading(lm.anatomy, places, stop=True) as cut:
        lm.hidden(ids, mask)
    assert all(torch.equal(full[place], cut[place]) for place in places)


def test_a_model_without_blocks_says_so():
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 7)

        def get_output_embeddings(self):
            return self.head

    with pytest.raises(ModelError, match="Flat: no list of equal blocks"):
        anatomy_of(Flat())


def test_text_longer_than_the_context_is_refused(lm):
    with pytest.raises(ModelError, match=r"65 tokens does not fit the model's context of 64"):
        lm.pad([(1,) * 65])
