"""Forward passes in bfloat16: every editor works, and what it writes stays float32 and near."""

from dataclasses import replace

import pytest
import torch

from normgrowth.editors.registry import declaration
from normgrowth.lm.anatomy import frobenius
from normgrowth.measure.scores import score_facts
from tests.support import small_models
from tests.support.every_editor import WRITERS, hypernetwork_of, settings_of


def change_of(kind: str, architecture: str, precision: torch.dtype) -> float:
    """Norm of the change that one call of an editor makes, over all its matrices."""
    lm = replace(small_models.language_model_of(architecture), precision=precision)
    settings = settings_of(kind)
    resources = replace(small_models.resources(lm), hypernetwork=hypernetwork_of(kind, lm))
    editor = declaration(kind).build(settings)
    editor.prepare(lm, resources)
    before = [lm.anatomy.down_projections[layer].matrix.clone() for layer in editor.layers]
    editor.edit(lm, editor.begin(lm), small_models.facts()[: settings.batch])
    after = [lm.anatomy.down_projections[layer].matrix for layer in editor.layers]
    assert all(matrix.dtype == torch.float32 for matrix in after)
    return sum(frobenius(a - b) ** 2 for a, b in zip(after, before, strict=True)) ** 0.5


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
@pytest.mark.parametrize("kind", WRITERS)
def test_every_editor_writes_about_the_same(kind, architecture):
    exact, rough = (change_of(kind, architecture, precision) for precision in (torch.float32, torch.bfloat16))
    assert exact > 0 and rough == pytest.approx(exact, rel=0.35)


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_products_are_rounded_and_weights_are_not(architecture):
    exact = small_models.language_model_of(architecture)
    rough = replace(exact, precision=torch.bfloat16)
    ids, mask = exact.pad([(1, 2, 3, 4)])
    a, b = (lm.logits(lm.hidden(ids, mask)).float() for lm in (exact, rough))
    assert not torch.equal(a, b) and torch.allclose(a, b, atol=0.05 * a.abs().max().item())
    assert rough.anatomy.head.weight.dtype == torch.float32
    scores = [score_facts(lm, small_models.facts()) for lm in (exact, rough)]
    assert (scores[0]["em"] - scores[1]["em"]).abs().max() < 0.01


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_matrices_rounded_once_give_the_bits_of_rounding_them_in_every_pass(architecture):
    lm = replace(small_models.language_model_of(architecture), precision=torch.bfloat16)
    ids, mask = lm.pad([(1, 2, 3, 4), (5, 6)])

    def by_autocasting():
        with torch.autocast("cpu", torch.bfloat16):
            return lm.model(input_ids=ids, attention_mask=mask).logits

    def by_copies():
        return lm.logits(lm.hidden(ids, mask))

    assert torch.equal(by_copies(), by_autocasting())
    unedited = by_copies()
    lm.anatomy.down_projections[1].matrix.mul_(1.5)  # in place, as editors change it
    assert torch.equal(by_copies(), by_autocasting())
    assert not torch.equal(by_copies(), unedited)


def test_a_matrix_in_training_is_not_replaced_by_its_copy():
    lm = replace(small_models.language_model_of("gpt2"), precision=torch.bfloat16)
    ids, mask = lm.pad([(1, 2, 3, 4)])
    lm.hidden(ids, mask)
    weight = lm.anatomy.down_projections[1].weight.requires_grad_(True)
    with torch.enable_grad():
        lm.hidden(ids, mask)[..., 0].sum().backward()
    assert weight.grad is not None and weight.grad.abs().sum() > 0


def test_the_matrices_are_back_after_a_pass_that_fails():
    lm = replace(small_models.language_model_of("gpt2"), precision=torch.bfloat16)
    own = {name: parameter.data_ptr() for name, parameter in lm.model.named_parameters()}
    with pytest.raises(IndexError):
        lm.hidden(torch.tensor([[10**6]]), torch.tensor([[1]]))
    assert {name: parameter.data_ptr() for name, parameter in lm.model.named_parameters()} == own
    assert all(parameter.dtype == torch.float32 for parameter in lm.model.parameters())
