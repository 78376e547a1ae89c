"""The norm behind an MLP: found where it stands, and aimed through."""

import pytest
import torch
from torch import nn

from normgrowth.errors import ModelError
from normgrowth.lm.model import language_model
from normgrowth.lm.post_norms import PostNorm, Reach, rms, unit_rms
from tests.support import small_models
from tests.support.architectures import ARCHITECTURES, WIDTH, language_model_of, model_of


class RootMeanSquare(nn.Module):
    """The definition, with a gain."""

    def __init__(self, gain):
        super().__init__()
        self.weight = gain

    def forward(self, values):
        return self.weight * values / values.square().mean(dim=-1, keepdim=True).sqrt()


def norm_of(gain):
    return PostNorm(RootMeanSquare(gain), gain.double())


def test_norms_are_found_where_blocks_have_them():
    for name, architecture in ARCHITECTURES.items():
        lm = language_model_of(name)
        for block, norm in zip(lm.anatomy.blocks, lm.post_norms, strict=True):
            behind = architecture.written.get("mlp_output")
            assert (norm.module if norm else None) is (block.get_submodule(behind) if behind else None)


def test_another_kind_of_norm_is_refused():
    model = model_of("gemma2")
    model.model.layers[1].post_feedforward_layernorm = nn.LayerNorm(WIDTH)
    message = r"block 1 passes its MLP's output through LayerNorm, which is no norm by the root mean square"
    with pytest.raises(ModelError, match=message):
        language_model(model, small_models.tokenizer("llama"))


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_the_nearest_point_is_nearer_than_any_other(scale):
    torch.manual_seed(0)
    gain = torch.rand(3, dtype=torch.float64) + 0.2
    wanted = scale * torch.randn(5, 3, dtype=torch.float64)
    nearest = norm_of(gain).nearest(wanted)
    assert torch.allclose(rms(nearest), torch.ones(5, 1, dtype=torch.float64))
    others = unit_rms(torch.randn(200_000, 3, dtype=torch.float64))
    distances = torch.cdist(wanted, gain * others).min(dim=1).values
    found = (wanted - gain * nearest).norm(dim=1)
    assert (found <= distances + 1e-12).all()
    assert torch.allclose(found, distances, atol=0.02)


def test_a_point_that_can_be_written_is_its_own_nearest():
    torch.manual_seed(0)
    for gain in (torch.ones(64), 0.1 + torch.rand(64), torch.randn(64), torch.randn(64).abs().clamp(max=1e-3)):
        directions = unit_rms(torch.randn(9, 64, dtype=torch.float64))
        assert torch.allclose(norm_of(gain).nearest(gain.double() * directions), directions, atol=1e-6)


def test_an_offset_reaches_points_that_can_be_written():
    torch.manual_seed(0)
    gain, values = 0.5 + torch.rand(16), 3.0 * torch.randn(7, 16)
    norm = norm_of(gain)
    reach = Reach(norm, values)
    assert not reach.of(torch.zeros(7, 16)).any()
    there = norm.written(values) + reach.of(torch.randn(7, 16))
    assert torch.allclose(rms(there / gain), torch.ones(7, 1), atol=1e-5)
    assert torch.equal(reach.select(torch.tensor([4, 1])).of(torch.ones(2, 16)), reach.of(torch.ones(7, 16))[[4, 1]])
    if_all_gains_are_one = Reach(norm_of(torch.ones(16)), values)
    across = torch.randn(7, 16) * 1e-3
    across -= (across * values).sum(dim=1, keepdim=True) / values.square().sum(dim=1, keepdim=True) * values
    assert torch.allclose(if_all_gains_are_one.of(across), across, atol=1e-5)
