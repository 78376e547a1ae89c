"""Hypernetworks: their algebra against plain code, their training, and what is refused."""

import json
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import plain
from normgrowth.commands import hypernetwork as command
from normgrowth.editors.base import Change
from normgrowth.editors.hypernetwork import networks
from normgrowth.editors.hypernetwork.networks import edited, ridge_regression, token_gradients
from normgrowth.editors.registry import declaration
from normgrowth.editors.resources import read_hypernetwork
from normgrowth.errors import ArtefactError, FactError
from normgrowth.io.documents import write_json
from normgrowth.io.tensors import read_tensors
from normgrowth.jobs.command_line import parse
from normgrowth.lm.continuations import continuations
from normgrowth.sources.loading import load_model
from normgrowth.sources.manifest import revision
from tests.support import small_models
from tests.support.processes import start

KINDS = ("mend", "malmen")
TRAINING = {"layers": [1, 2], "rank": 8, "initial_rate": 0.05, "training_steps": 12, "validate_every": 3}
TRAINING |= {"validation_share": 0.34, "edits_per_step": 2}


def losses_of(lm, facts):
    """Losses of the facts' new objects after their prompts."""
    batch = continuations(lm, [(fact.question, fact.target_new) for fact in facts])
    return batch.losses(batch.predictions(lm))


def network_of(kind, **changes):
    module = declaration(kind)
    return module.network(module.Settings(**{**TRAINING, **changes}))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(2, 12), st.integers(1, 20), st.floats(0.01, 10.0), st.integers(0, 2**31))
def test_ridge_regression_meets_the_normal_equations(d, m, ridge, seed):
    """min ||Δ X - D||² + ridge ||Δ||²: its gradient is zero, with fewer and with more tokens than inputs."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(d, m, generator=generator, dtype=torch.float64)
    shifts = torch.randn(5, m, generator=generator, dtype=torch.float64)
    right = ridge_regression(x, torch.tensor(ridge)).double()
    delta = shifts @ right.T
    assert ((delta @ x - shifts) @ x.T + ridge * delta).norm() <= 1e-4 * (shifts @ x.T).norm()


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_network_is_the_identity_and_can_learn(lm, kind):
    network = network_of(kind)
    d, o = networks.input_output_widths(lm, (1, 2))
    parameters = network.initial(d, o, 0) | {"mean": torch.zeros(d + o), "std": torch.ones(d + o)}
    _, tokens = token_gradients(lm, small_models.facts()[:2], (1, 2), network.answer_tokens_only)
    for name in parameters:
        parameters[name].requires_grad_(True)
    x, g = network.transform(parameters, 1, tokens[2])
    assert torch.allclose(x, tokens[2].inputs, atol=1e-5) and torch.allclose(g, tokens[2].gradients, atol=1e-5)
    (x.sum() + g.square().sum()).backward()
    assert parameters["out.0"].grad.abs().sum() > 0  # the threshold at zero lets gradients through


def test_token_gradients_sum_to_the_weight_gradient(lm):
    facts = small_models.facts()[:3]
    projections = [lm.anatomy.down_projections[layer] for layer in (1, 3)]
    losses, tokens = token_gradients(lm, facts, (1, 3), answer_tokens_only=False)
    for projection in projections:
        projection.weight.requires_grad_(True)
    total = sum(losses_of(lm, [fact])[0] for fact in facts)
    gradients = torch.autograd.grad(total, [projection.weight for projection in projections])
    for projection, gradient in zip(projections, gradients, strict=True):
        projection.weight.requires_grad_(False)
        expected = gradient.T if projection.is_transposed else gradient
        found = tokens[projection.layer].gradients.T @ tokens[projection.layer].inputs
        assert torch.allclose(found, expected, atol=1e-5)
    for fact, loss in zip(facts, losses.tolist(), strict=True):
        assert loss == pytest.approx(plain.loss_of(lm, fact.question, fact.target_new)[0], abs=1e-4)


def test_answer_tokens_are_those_that_objects_are_read_off(lm):
    fact = small_models.facts()[3]
    _, tokens = token_gradients(lm, [fact], (1,), answer_tokens_only=True)
    with_target = len(lm.tokenizer(f"{fact.question} {fact.target_new}")["input_ids"])
    assert len(tokens[1].inputs) == with_target - len(lm.tokenizer(fact.question)["input_ids"])


def test_an_edit_by_hook_equals_the_edit_of_the_weights(lm):
    generator = torch.Generator().manual_seed(1)
    o, d = lm.anatomy.down_projections[1].matrix.shape
    change = Change(torch.randn(o, 3, generator=generator) / 10, torch.randn(d, 3, generator=generator) / 10)
    with edited(lm, {1: change}):
        by_hook = losses_of(lm, small_models.facts())
    lm.anatomy.down_projections[1].matrix.add_(change.left @ change.right.T)
    assert torch.allclose(by_hook, losses_of(lm, small_models.facts()), atol=1e-5)


@pytest.fixture
def folder(tmp_path):
    small_models.save("gpt2", tmp_path / "model")
    write_json(tmp_path / "facts.json", small_models.records())
    return tmp_path


def words(folder, kind, out="out", **changes) -> list[str]:
    given = {**TRAINING, **changes}
    values = {"model": folder / "model", "facts": folder / "facts.json", "reserved": 6, "seed": 0, "editor": kind}
    values |= {"settings": json.dumps(given), "device": "cpu", "threads": 1, "out": folder / out}
    return [str(word) for name, value in values.items() for word in (f"--{name}", value)]


def train(*args, **changes) -> None:
    command.run(parse(command.Hypernetwork, words(*args, **changes)))


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_validation_loss_and_is_repeatable(folder, kind):
    for out in ("out", "again"):
        train(folder, kind, out)
        assert not (folder / out / "checkpoint.safetensors").exists()
    quality = json.loads((folder / "out/quality.json").read_text())
    losses = [loss for _, loss in quality["validation_losses"]]
    assert min(losses) < losses[0] and quality["best_validation_loss"] == min(losses)
    assert quality["validation_facts"] == 2 and {"es", "ps", "ns"} <= set(quality)
    first, second = ((folder / out / "hypernetwork.safetensors").read_bytes() for out in ("out", "again"))
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mend", "malmen"])
def test_a_killed_training_ends_with_the_same_bytes(folder, kind):
    long = {"training_steps": 30, "patience": 100}
    train(folder, kind, "whole", **long)
    running = start(["hypernetwork", *words(folder, kind, "killed", **long)])
    checkpoint = folder / "killed/checkpoint.safetensors"
    while not checkpoint.exists() and running.process.is_alive():
        time.sleep(0.01)
    running.kill()
    assert checkpoint.exists() and not (folder / "killed/hypernetwork.safetensors").exists()
    train(folder, kind, "killed", **long)
    whole, killed = ((folder / out / "hypernetwork.safetensors").read_bytes() for out in ("whole", "killed"))
    assert whole == killed


def test_training_stops_when_the_loss_no_longer_falls(folder):
    train(folder, "mend", training_steps=200, patience=1, learning_rate=1e-12, rate_learning_rate=1e-12)
    assert json.loads((folder / "out/quality.json").read_text())["steps"] < 200


def test_a_network_for_another_model_layers_or_width_is_refused(folder):
    train(folder, "mend")
    path, module = folder / "out/hypernetwork.safetensors", declaration("mend")
    right = module.Settings(**TRAINING)
    lm = load_model(folder / "model")
    of = {"model": revision(folder / "model"), "seed": 0, "settings": right.model_dump(mode="json")}
    tensors = read_hypernetwork(path, of, lm)
    assert read_tensors(path)[1]["quality"]["validation_facts"] == 2
    others = right.model_copy(update={"layers": (0, 1)}).model_dump(mode="json")
    with pytest.raises(ArtefactError, match=r"holds layers \[1, 2\], where layers \[0, 1\] belongs; delete it"):
        read_hypernetwork(path, of | {"settings": others}, lm)
    small_models.save("llama", folder / "other")
    for wrong in ({"model": revision(folder / "other")}, {"seed": 1}, {"kind": "malmen"}, {"facts": "f00"}):
        with pytest.raises(ArtefactError, match=f"holds {next(iter(wrong))} "):
            read_hypernetwork(path, of | wrong, lm)
    from normgrowth.editors.base import Resources

    with pytest.raises(ArtefactError, match=r"for inputs and gradients of width 160, where the model has 88 \+ 32"):
        module.build(right).prepare(load_model(folder / "other"), Resources({}, hypernetwork=tensors))


def test_too_few_facts_to_split_are_refused(folder):
    with pytest.raises(FactError, match="6 reserved facts are too few to train a hypernetwork: raise `reserved`"):
        train(folder, "mend", validation_share=0.01)
