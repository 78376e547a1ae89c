"""A model whose blocks lie on two devices, as accelerate spreads it, does what it does on one."""

import pytest
import torch
from accelerate import dispatch_model

from normgrowth.editors.hypernetwork.networks import token_gradients
from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.errors import ModelError
from normgrowth.lm.generate import go_on
from normgrowth.lm.hooks import SITES, changing
from normgrowth.lm.model import language_model
from normgrowth.measure.activations import activations_on, make_probes
from normgrowth.measure.causal_trace import effects_on
from normgrowth.measure.depth import norms_by_depth
from normgrowth.measure.scores import score_facts
from normgrowth.measure.spectra import leading_of, watched
from normgrowth.runs.telemetry import NormTelemetry
from normgrowth.sources.loading import load_model
from tests.lm.test_architectures import batch
from tests.support import second_device, small_models
from tests.support.architectures import ARCHITECTURES, N_LAYERS, language_model_of, model_of
from tests.support.every_editor import hypernetwork_of, settings_of

FACTS = small_models.facts()[:3]
ELSEWHERE = second_device.register()


def spread(name):
    """The miniature with its first block at home, and all other blocks, the final norm and an untied head elsewhere."""
    architecture, model = ARCHITECTURES[name], model_of(name)
    away = [f"{architecture.blocks}.{layer}" for layer in range(1, N_LAYERS)] + [architecture.final_norm]
    if model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        away.append("lm_head" if hasattr(model, "lm_head") else "embed_out")
    leaves = [part for part, module in model.named_modules() if part and not list(module.children())]
    placed = {part: "cpu" for part in leaves if not part.startswith(f"{architecture.blocks}.")}
    placed |= {f"{architecture.blocks}.0": "cpu"} | dict.fromkeys(away, ELSEWHERE)
    return language_model(
        dispatch_model(model, placed, main_device="cpu"), small_models.tokenizer(architecture.tokenizer)
    )


def at_home(tensor):
    return tensor.detach().to("cpu")


@pytest.fixture(params=["gpt2", "gptj", "pythia", "opt_untied", "llama2", "gemma3", "phi3"])
def both(request):
    """The same model on one device and on two."""
    one, two = language_model_of(request.param), spread(request.param)
    assert {weight.device.type for weight in two.model.parameters()} == {"cpu", second_device.NAME}
    assert two.device.type == "cpu"
    return one, two


@pytest.fixture
def small():
    return language_model_of("gpt2"), spread("gpt2")


def test_a_causal_trace_and_norms_by_depth_agree(both):
    one, two = (effects_on(lm, FACTS[0], 0.5, seed=0) for lm in both)
    assert (*two.residual, *two.mlp) == pytest.approx((*one.residual, *one.mlp), abs=1e-6)
    one, two = (norms_by_depth(lm, FACTS) for lm in both)
    assert two.residual == pytest.approx(one.residual, rel=1e-4)
    assert two.mlp_share == pytest.approx(one.mlp_share, rel=1e-4)


def test_the_second_device_refuses_to_be_mixed():
    elsewhere = torch.ones(3).to(ELSEWHERE)
    with pytest.raises(RuntimeError, match="tensors of two devices"):
        elsewhere + torch.ones(3)
    assert torch.equal(at_home(elsewhere + elsewhere), torch.full((3,), 2.0))


@torch.no_grad()
def test_passes_readings_and_changes_agree(both):
    logits, activations = [], []
    for lm in both:
        ids, mask = batch(lm)
        probes = make_probes(lm, FACTS, ids[:2, :6])
        activations.append(activations_on(lm, probes, range(N_LAYERS)))
        for site in SITES:
            with changing(lm.anatomy, (1, site), lambda x: 2 * x.flip(-1) + 1):
                logits.append(lm.logits(lm.hidden(ids, mask)))
    for one, two in zip(logits[: len(SITES)], logits[len(SITES) :], strict=True):
        assert torch.allclose(one, two, atol=1e-4)
    for where, values in activations[0].items():
        assert torch.allclose(values, activations[1][where], atol=1e-4)


@torch.no_grad()
def test_going_on_and_scores_agree(both):
    prompts = [tuple(both[0].tokenizer(fact.question)["input_ids"]) for fact in FACTS]
    assert go_on(both[0], prompts, 6) == go_on(both[1], prompts, 6)
    one, two = (score_facts(lm, FACTS).select_dtypes("number") for lm in both)
    assert torch.allclose(torch.tensor(one.to_numpy()), torch.tensor(two.to_numpy()), atol=1e-4, equal_nan=True)


def edited(lm, kind):
    """The watched rows of the norms after a batch, and the weights at home."""
    layers = (0, 1)
    settings = settings_of(kind).model_copy(update={"layers": layers})
    editor = declaration(kind).build(settings)
    resources = small_models.resources(lm, range(2))
    resources.hypernetwork.update(hypernetwork_of(kind, lm))
    editor.prepare(lm, resources)
    telemetry = NormTelemetry(lm, layers)
    editor.edit(lm, editor.begin(lm), FACTS[: settings.batch])
    return telemetry.rows(1), [at_home(p.weight) for p in lm.anatomy.down_projections]


@pytest.mark.parametrize("kind", sorted(EDITORS))
def test_every_editor_writes_the_same(small, kind):
    (rows, weights), (rows_of_two, weights_of_two) = (edited(lm, kind) for lm in small)
    for one, two in zip(weights, weights_of_two, strict=True):
        assert torch.allclose(one, two, atol=2e-4)
    assert [row["frobenius"] for row in rows] == pytest.approx([row["frobenius"] for row in rows_of_two], rel=1e-4)


def test_gradients_and_spectra_agree(small):
    (_, one), (_, two) = (token_gradients(lm, FACTS, (0, 2), True) for lm in small)
    for layer, tokens in one.items():
        assert torch.allclose(tokens.gradients, two[layer].gradients, atol=1e-5)
    one, two = (leading_of(watched(lm), 3) for lm in small)
    for name, spectrum in one.items():
        assert torch.allclose(spectrum.values, at_home(two[name].values), rtol=1e-5)


def test_more_gpus_than_there_are_is_an_error(tmp_path):
    there = torch.cuda.device_count()
    with pytest.raises(ModelError, match=f"{there + 2} GPUs were asked for, and torch sees {there}"):
        load_model(small_models.save("gpt2", tmp_path), "cuda", gpus=there + 2)
