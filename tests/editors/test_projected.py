"""Projected fine-tuning (CrispEdit): its mask and projection against numpy, its steps, the moments it is made of."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from normgrowth.editors.base import Resources
from normgrowth.editors.finetune.projected import FreeDirections
from normgrowth.editors.moments import SecondMoment, Sums, gather_second_moments
from normgrowth.editors.registry import declaration
from normgrowth.editors.resources import read_gradient_moments
from normgrowth.errors import ArtefactError, EditError, ModelError
from normgrowth.io.tensors import read_tensors, write_tensors
from normgrowth.sources.loading import load_model
from normgrowth.sources.manifest import revision
from tests.support import small_models
from tests.support.commands import Workbench


def moments_of(width, seed):
    vectors = np.random.default_rng(seed).normal(size=(3 * width, width)) * np.logspace(-1, 1, width)
    return vectors.T @ vectors / len(vectors)


def projector(keys, gradients, protected):
    """P as a matrix [o d, o d] on row-major W, from a loop over pairs of eigenvectors, largest curvature first."""
    of_inputs, inputs = np.linalg.eigh(keys)
    of_outputs, outputs = np.linalg.eigh(gradients)
    pairs = [(of_outputs[j] * of_inputs[i], j, i) for j in range(len(of_outputs)) for i in range(len(of_inputs))]
    total, reached, p = sum(size for size, _, _ in pairs), 0.0, 0
    for size, j, i in sorted(pairs, reverse=True):
        if reached >= protected * total:
            direction = np.outer(outputs[:, j], inputs[:, i]).ravel()
            p = p + np.outer(direction, direction)
        reached += size
    return p


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(2, 6), st.integers(2, 5), st.floats(0.05, 0.999), st.integers(0, 2**31))
def test_steps_are_projected_as_the_paper_has_it(d, o, protected, seed):
    keys, gradients = moments_of(d, seed), moments_of(o, seed + 1)
    step = np.random.default_rng(seed + 2).normal(size=(o, d))
    space = FreeDirections.of(torch.tensor(keys), torch.tensor(gradients), protected)
    found = space.project(torch.tensor(step, dtype=torch.float32))
    expected = (projector(keys, gradients, protected) @ step.ravel()).reshape(o, d)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(space.project(found), found, atol=1e-5)


def test_no_share_frees_everything_and_all_of_it_nothing():
    keys, gradients = torch.tensor(moments_of(5, 0)), torch.tensor(moments_of(4, 1))
    step = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(FreeDirections.of(keys, gradients, 0.0).project(step), step, atol=1e-5)
    assert FreeDirections.of(keys, gradients, 1e-9).mask.sum() == 4 * 5 - 1
    assert FreeDirections.of(keys, gradients, 1.0).mask.sum() == 0
    unused = keys.clone()
    unused[0], unused[:, 0] = 0, 0  # a unit that no text turns on is free under any share
    assert FreeDirections.of(unused, gradients, 1 - 1e-12).mask.sum() >= 4


def resources(lm, **changes):
    given = small_models.resources(lm)
    return Resources({}, given.second_moments, gradient_moments=given.gradient_moments, seed=3, **changes)


def editor_of(lm, **given):
    module = declaration("crispedit")
    asked = {"layers": [1], "batch": 2, "epochs": 3, "minibatch": 9, "learning_rate": 2e-3, "stop_loss": 0.0}
    editor = module.build(module.Settings(**{**asked, "protected_energy": 0.9, **given}))
    editor.prepare(lm, resources(lm))
    return editor


def moments(lm):
    given = small_models.resources(lm)
    return given.second_moments[1].moment.numpy(), given.gradient_moments[1].moment.numpy()


def share_outside(change, keys, gradients, protected=0.9):
    """Share of a change's norm in protected directions."""
    change = change.double().numpy().ravel()
    o, d = len(gradients), len(keys)
    of_inputs, inputs = np.linalg.eigh(keys)
    of_outputs, outputs = np.linalg.eigh(gradients)
    curvature = np.outer(of_outputs, of_inputs)
    falling = np.sort(curvature, axis=None)[::-1]
    edge = falling[np.searchsorted(np.cumsum(falling), protected * falling.sum())]
    turned = outputs.T @ change.reshape(o, d) @ inputs
    return np.linalg.norm(turned[curvature >= edge]) / np.linalg.norm(change)


@pytest.mark.parametrize(("project", "leaves"), [("step", False), ("gradient", True)])
def test_projected_steps_stay_among_free_directions_and_steps_of_projected_gradients_do_not(lm, project, leaves):
    editor = editor_of(lm, project=project)
    before = {name: parameter.clone() for name, parameter in lm.model.named_parameters()}
    start, (keys, gradients) = lm.anatomy.down_projections[1].matrix.clone(), moments(lm)
    trace = editor.edit(lm, editor.begin(lm), small_models.facts()[:2])
    change = lm.anatomy.down_projections[1].matrix - start
    assert change.norm() > 0.01 and (share_outside(change, keys, gradients) > 0.01) == leaves
    assert share_outside(change, keys, gradients) < 1e-4 or leaves
    name = lm.anatomy.down_projections[1].name
    changed = {n for n, parameter in lm.model.named_parameters() if not torch.equal(parameter, before[n])}
    assert changed == {name} and trace.changes is None and trace.records[0].search_steps == 3


def loss_of(lm, fact):
    prompt = lm.tokenizer(fact.question)["input_ids"]
    whole = lm.tokenizer(f"{fact.question} {fact.target_new}")["input_ids"]
    logits = lm.model(input_ids=torch.tensor([whole])).logits[0, len(prompt) - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(whole[len(prompt) :]))


@pytest.mark.parametrize(("project", "protected"), [("step", 0.0), ("step", 0.6), ("gradient", 0.6)])
def test_training_is_adam_with_the_projection_where_it_belongs(lm, project, protected):
    """Three steps against torch's Adam and a projection written anew; without protection it is plain fine-tuning."""
    facts, projection = small_models.facts()[:2], lm.anatomy.down_projections[1]
    editor, start = editor_of(lm, project=project, protected_energy=protected), projection.weight.clone()
    keys, gradients = moments(lm)
    editor.edit(lm, editor.begin(lm), facts)
    after, weight = projection.weight.clone(), projection.weight
    weight.copy_(start)
    of_inputs, inputs = np.linalg.eigh(keys)
    of_outputs, outputs = np.linalg.eigh(gradients)
    curvature = np.outer(of_outputs, of_inputs)
    falling = np.sort(curvature, axis=None)[::-1]
    edge = falling[np.searchsorted(np.cumsum(falling), protected * falling.sum())] if protected else np.inf

    def projected(step):
        as_matrix = (step.T if projection.is_transposed else step).double().numpy()
        kept = torch.tensor(outputs @ ((outputs.T @ as_matrix @ inputs) * (curvature < edge)) @ inputs.T).float()
        return kept.T if projection.is_transposed else kept

    weight.requires_grad_(True)
    adam = torch.optim.Adam([weight], lr=2e-3)
    for _ in range(3):
        adam.zero_grad()
        torch.stack([loss_of(lm, fact) for fact in facts]).mean().backward()
        with torch.no_grad():
            if project == "gradient":
                weight.grad.copy_(projected(weight.grad))
            before = weight.clone()
            adam.step()
            if project == "step":
                weight.copy_(before + projected(weight - before))
    weight.requires_grad_(False)
    # Adam divides by the gradient's size, so the sign of an entry that is all but zero may differ.
    assert (after - weight).norm() < 0.02 * (weight - start).norm()


def test_finished_edits_join_the_moments_of_text_by_their_weight(lm):
    facts = small_models.facts()[:4]
    editor = editor_of(lm, fact_weight=500.0)
    memory = editor.begin(lm)
    editor.edit(lm, memory, facts[:2])
    projection = lm.anatomy.down_projections[1]
    assert memory["edits"].item() == 1000
    passes = []
    for fact in facts[:2]:
        prompt = lm.tokenizer(fact.question)["input_ids"]
        whole = torch.tensor(lm.tokenizer(f"{fact.question} {fact.target_new}")["input_ids"])
        passes.append(inputs_and_gradients(lm, 1, whole, len(prompt)))
    h, g = (np.concatenate(parts) for parts in zip(*passes, strict=True))
    np.testing.assert_allclose(memory["keys.1"], 1000 * h.T @ h / len(h), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(memory["gradients.1"], 1000 * g.T @ g / len(g), rtol=1e-2, atol=1e-3)
    text = small_models.resources(small_models.language_model_of(architecture(lm)))
    merged = []
    for name, of_text in (("keys", text.second_moments[1]), ("gradients", text.gradient_moments[1])):
        merged.append((of_text.count * of_text.moment + memory[f"{name}.1"]).numpy() / (of_text.count + 1000))
    start = projection.matrix.clone()
    editor.edit(lm, memory, facts[2:])
    change = projection.matrix - start
    assert share_outside(change, *merged) < 1e-4
    assert share_outside(change, text.second_moments[1].moment.numpy(), text.gradient_moments[1].moment.numpy()) > 1e-3
    alone = editor_of(lm, fact_weight=0.0)
    memory = alone.begin(lm)
    alone.edit(lm, memory, facts[:2])
    assert sorted(memory) == ["step"]


def inputs_and_gradients(lm, layer, ids, first):
    """Inputs [tokens, d] of a down-projection, and gradients [tokens, o] at its outputs of the summed loss of tokens
    from `first` on, by a hook and one text."""
    seen = []

    def add(module, inputs, output):
        seen[:] = inputs[0][0], torch.zeros_like(output, requires_grad=True)
        return output + seen[1]

    handle = lm.anatomy.down_projections[layer].module.register_forward_hook(add)
    logits = lm.model(input_ids=ids[None, :-1]).logits[0, first - 1 :]
    handle.remove()
    torch.nn.functional.cross_entropy(logits, ids[first:], reduction="sum").backward()
    return seen[0].detach().double().numpy(), seen[1].grad[0].double().numpy()


def architecture(lm):
    return "gpt2" if type(lm.model).__name__.startswith("GPT2") else "llama"


def windows():
    return torch.randint(1, 300, (6, 10), generator=torch.Generator().manual_seed(1))


def test_moments_of_gradients_are_those_of_each_window_alone(lm):
    found = gather_second_moments(lm, windows().split(4), [0, 2], of="gradients")
    alone = {layer: [inputs_and_gradients(lm, layer, window, 1)[1] for window in windows()] for layer in (0, 2)}
    for layer, moment in found.items():
        assert moment.count == 6 * 9
        g = np.concatenate(alone[layer])
        np.testing.assert_allclose(moment.moment, g.T @ g / (6 * 9), rtol=1e-3, atol=1e-5)
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in lm.model.parameters())


def test_gathering_of_gradients_goes_on_where_it_stopped(lm):
    batches = windows().split(2)
    whole = gather_second_moments(lm, batches, [1], of="gradients")
    sums = Sums()
    gather_second_moments(lm, batches[:1], [1], sums, of="gradients")
    rest = gather_second_moments(lm, batches[1:], [1], sums, of="gradients")
    assert torch.equal(whole[1].moment, rest[1].moment) and whole[1].count == rest[1].count


def test_the_command_writes_what_the_editor_reads_and_anything_else_is_refused(tmp_path):
    bench = Workbench(tmp_path)
    for of in ("keys", "gradients"):
        assert bench.run("statistics", of=of, layers=[0, 1], out=tmp_path / f"{of}.safetensors") == 0
    lm, made_on = load_model(bench.model), {"model": revision(bench.model), "seed": 0}
    path = tmp_path / "gradients.safetensors"
    found = read_gradient_moments(path, made_on, lm, [1])
    assert found[1].moment.shape == (small_models.WIDTH, small_models.WIDTH) and found[1].count == 1024 * 15 // 16
    with pytest.raises(ArtefactError, match=r"keys.safetensors holds second_moments, not gradient_moments"):
        read_gradient_moments(tmp_path / "keys.safetensors", made_on, lm, [1])
    with pytest.raises(ArtefactError, match=r"holds layers 0, 1, and not 2"):
        read_gradient_moments(path, made_on, lm, [2])
    with pytest.raises(ArtefactError, match=r"holds seed 0, where seed 1"):
        read_gradient_moments(path, {**made_on, "seed": 1}, lm, [1])
    tensors, metadata = read_tensors(path)
    smaller = {name: moment[:9, :9].contiguous() for name, moment in tensors.items()}
    write_tensors(tmp_path / "small.safetensors", smaller, metadata, "gradient_moments")
    with pytest.raises(ArtefactError, match=r"is for outputs of width 9 at layer 0, where the model has 32; delete it"):
        read_gradient_moments(tmp_path / "small.safetensors", made_on, lm, [1])


def test_what_cannot_be_is_refused(lm):
    for wrong in ({"protected_energy": 1.0}, {"protected_energy": -0.1}, {"project": "weights"}, {"fact_weight": -1}):
        with pytest.raises(ValidationError):
            declaration("crispedit").Settings(**wrong)
    given = resources(lm)
    broken = SecondMoment(given.second_moments[1].moment * float("nan"), 10, 1)
    editor = declaration("crispedit").build(declaration("crispedit").Settings(layers=[1]))
    with pytest.raises(ModelError, match="the second moment of layer 1 is not finite"):
        editor.prepare(lm, Resources({}, {1: broken}, gradient_moments=given.gradient_moments))
    editor = editor_of(lm)
    lm.anatomy.down_projections[2].weight.fill_(float("inf"))
    with pytest.raises(EditError, match="fine-tuning on case 10 gave a loss of nan at step 0"):
        editor.edit(lm, editor.begin(lm), small_models.facts()[:1])


def test_layers_by_depth_are_those_published_for_llama():
    by_depth = declaration("crispedit").Settings.layers_by_depth
    assert by_depth(32) == (19, 20, 21, 22, 23) and by_depth(4) == (2,) and by_depth(1) == (0,)
