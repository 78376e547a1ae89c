"""Remedies on small models: what each does to the editor inside, against that editor itself and numpy."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from normgrowth.editors.base import Change
from normgrowth.editors.controls import NoFeedback
from normgrowth.editors.locate.keys import at_subject
from normgrowth.editors.locate.method import Share
from normgrowth.editors.registry import declaration
from normgrowth.editors.remedies.damped_steps import DampedSteps
from normgrowth.editors.remedies.subspaces import dominant_directions, dominant_rows
from normgrowth.errors import EditError
from normgrowth.lm.hooks import reading
from tests.support import small_models
from tests.support.every_editor import hypernetwork_of, innermost, settings_of

FACTS = small_models.facts()
LAYERS = range(small_models.N_LAYERS)


def around(remedy, editor, inner=None, **settings):
    """A remedy with these settings around an editor."""
    inner = inner or settings_of(editor)
    return declaration(remedy).build(declaration(remedy).Settings(**settings).around(editor, editor, inner))


def plain(editor, **changes):
    return declaration(editor).build(settings_of(editor).model_copy(update=changes))


def edited(editor, name, batches, architecture="gpt2"):
    """Parameters after these batches of facts, the last trace, and the run's memory."""
    lm = small_models.language_model_of(architecture)
    editor.prepare(lm, replace(small_models.resources(lm), hypernetwork=hypernetwork_of(name, lm)))
    memory = editor.begin(lm)
    for batch in batches:
        trace = editor.edit(lm, memory, batch)
    return dict(lm.model.named_parameters()), trace, memory


def matrices(lm_or_parameters, architecture="gpt2"):
    """Every down-projection as [o, d], in float64."""
    lm = small_models.language_model_of(architecture)
    if isinstance(lm_or_parameters, dict):
        lm.model.load_state_dict(lm_or_parameters, strict=False)
    return [lm.anatomy.down_projections[layer].matrix.double().numpy() for layer in LAYERS]


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


BATCHES = [FACTS[:2], FACTS[2:4]]


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
@pytest.mark.parametrize("editor", ["memit", "alphaedit", "ft", "malmen"])
@pytest.mark.parametrize(("remedy", "settings"), [("revive", {"tau": 0.0}), ("sphere", {"alpha": 0.0})])
def test_a_remedy_that_takes_nothing_off_changes_no_byte(architecture, editor, remedy, settings):
    bare, _, memory = edited(plain(editor), editor, BATCHES, architecture)
    wrapped, _, of_wrapped = edited(around(remedy, editor, **settings), editor, BATCHES, architecture)
    assert same(bare, wrapped)
    assert memory.keys() == of_wrapped.keys() and same(memory, of_wrapped)


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
@pytest.mark.parametrize("editor", ["memit", "emmet", "ft", "malmen"])
def test_revive_leaves_what_the_matrix_does_with_its_dominant_directions(architecture, editor):
    """W_t v_i = W_0 v_i and u_iᵀ W_t = u_iᵀ W_0 after two batches, and other directions do change."""
    revive = around("revive", editor, tau=0.4)
    parameters, _, _ = edited(revive, editor, BATCHES, architecture)
    for layer in revive.layers:
        before, after = (matrices(what, architecture)[layer] for what in (None, parameters))
        u, s, vt = np.linalg.svd(before, full_matrices=False)
        k = int((np.cumsum(s) / s.sum() < 0.4).sum()) + 1
        drift = after - before
        size = np.linalg.norm(drift)
        assert size > 1e-3 and k < len(s) / 2
        assert np.linalg.norm(drift @ vt[:k].T) < 1e-4 * size + 1e-5
        assert np.linalg.norm(u[:, :k].T @ drift) < 1e-4 * size + 1e-5


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
def test_revive_cuts_inside_the_loop_so_that_the_next_layer_makes_up(architecture):
    """The change of the upper layer is the one that MEMIT computes on the model with the lower layer's cut change."""
    facts = FACTS[:2]
    _, trace, _ = edited(around("revive", "memit", tau=0.4), "memit", [facts], architecture)
    lm = small_models.language_model_of(architecture)
    memit = plain("memit")
    memit.prepare(lm, small_models.resources(lm))
    memory = memit.begin(lm)
    wanted = memit.search(lm, memory, facts).values
    trace.changes[0].apply(lm.anatomy.down_projections[0])
    located, _ = memit._locate(lm, memory, facts, Share(layer=1, layers_left=1, wanted=wanted))
    uncut = memit.method.writer.change(located, memory)
    matrix = lm.anatomy.down_projections[1].matrix.double().numpy()
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    k = int((np.cumsum(s) / s.sum() < 0.4).sum()) + 1
    left = uncut.left.double().numpy()
    right = uncut.right.double().numpy()
    left, right = left - u[:, :k] @ (u[:, :k].T @ left), right - vt[:k].T @ (vt[:k] @ right)
    found = (trace.changes[1].left @ trace.changes[1].right.T).numpy()
    assert np.allclose(found, left @ right.T, atol=1e-4 * np.abs(found).max() + 1e-6)


def test_biases_that_fine_tuning_trains_stay_as_it_leaves_them():
    unedited = {name: p.clone() for name, p in small_models.language_model_of("gpt2").model.named_parameters()}
    ft, _, _ = edited(plain("ft"), "ft", [FACTS[:1]])
    (bias,) = [name for name in ft if "h.1.mlp.c_proj.bias" in name]
    for remedy, settings in (("revive", {"tau": 0.4}), ("sphere", {})):
        cut, trace, _ = edited(around(remedy, "ft", **settings), "ft", [FACTS[:1]])
        assert trace.changes is None
        assert torch.equal(cut[bias], ft[bias]) and not torch.equal(ft[bias], unedited[bias])
        assert not torch.equal(cut[bias.replace("bias", "weight")], ft[bias.replace("bias", "weight")])


class Scaled:
    """An editor whose change of layer 1 is a factor and a scale, as control arms make them."""

    layers = (1,)

    def prepare(self, lm, resources):
        pass

    def begin(self, lm):
        return {}

    def edit(self, lm, memory, facts):
        from normgrowth.editors.base import EditRecord, Trace

        o, d = lm.anatomy.down_projections[1].matrix.shape
        change = Change(torch.full((o, 1), 0.1), torch.full((d, 1), 0.2), 1.5)
        change.apply(lm.anatomy.down_projections[1])
        return Trace([EditRecord(case_id=fact.case_id) for fact in facts], {1: change})


def test_a_change_that_scales_the_matrix_is_damped_as_a_whole():
    parameters, trace, _ = edited(
        DampedSteps(Scaled(), lambda m: dominant_directions(m, 0.4, "squares")), "ft", [FACTS]
    )
    assert trace.changes is None
    before, after = (matrices(what)[1] for what in (None, parameters))
    u, s, vt = np.linalg.svd(before, full_matrices=False)
    k = int((np.cumsum(s**2) / (s**2).sum() < 0.4).sum()) + 1
    step = 1.5 * (before + 0.02) - before
    cut = (np.eye(len(u)) - u[:, :k] @ u[:, :k].T) @ step @ (np.eye(before.shape[1]) - vt[:k].T @ vt[:k])
    assert np.allclose(after, before + cut, atol=1e-5)


@pytest.mark.parametrize("reference", ["unedited", "current"])
@pytest.mark.parametrize("editor", ["memit", "malmen"])
def test_sphere_damps_by_the_rows_of_the_matrix_that_it_is_told(reference, editor):
    """The second call's step, of an editor whose first call moved the matrix far: oracle by the d x d eigenproblem."""
    sphere = around("sphere", editor, reference=reference, alpha=0.7, eta=0.3)
    lm = small_models.language_model_of("gpt2")
    sphere.prepare(lm, replace(small_models.resources(lm), hypernetwork=hypernetwork_of(editor, lm)))
    memory = sphere.begin(lm)
    layer = sphere.layers[0]
    projection = lm.anatomy.down_projections[layer]
    unedited = projection.matrix.double().numpy().copy()
    generator = torch.Generator().manual_seed(2)
    projection.matrix.add_(torch.randn(projection.matrix.shape, generator=generator))
    before = projection.matrix.double().numpy().copy()
    undamped = plain(editor)
    undamped.prepare(lm, replace(small_models.resources(lm), hypernetwork=hypernetwork_of(editor, lm)))
    wanted = undamped.edit(lm, {name: tensor.clone() for name, tensor in memory.items()}, FACTS[:2]).changes[layer]
    for at in sphere.layers:  # undone
        lm.anatomy.down_projections[at].matrix.copy_(torch.from_numpy(matrices(None)[at]))
    projection.matrix.copy_(torch.from_numpy(before))
    found = sphere.edit(lm, memory, FACTS[:2]).changes[layer]
    rows = unedited if reference == "unedited" else before
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    r = int((np.cumsum(values[::-1]) / values.sum() <= 0.3).sum()) + 1
    space = vectors[:, ::-1][:, :r]
    right = wanted.right.double().numpy()
    right = right - 0.7 * space @ (space.T @ right)
    assert np.allclose((found.left @ found.right.T).numpy(), wanted.left.double().numpy() @ right.T, atol=1e-4)


def test_spheres_alpha_follows_the_editor_inside():
    def alpha(editor, **settings):
        inner = settings_of(editor)
        return declaration("sphere").Settings(**settings).around(editor, editor, inner).alpha

    assert [alpha(editor) for editor in ("alphaedit", "nas", "memit", "ft")] == [0.5, 0.5, 0.8, 0.8]
    assert alpha("memit", alpha=0.1) == 0.1


def keys_of(lm, fact, layer, tokens):
    """Keys [d, m] of a fact under the current weights, in float64."""
    if tokens == "subject_last":
        return at_subject(lm, [fact], ["{}"], [(layer, "mlp_key")])[layer, "mlp_key"][0].T.double().numpy()
    ids = lm.tokenizer(f"{fact.question} {fact.target_new}")["input_ids"]
    with torch.no_grad(), reading(lm.anatomy, [(layer, "mlp_key")]) as seen:
        lm.model(input_ids=torch.tensor([ids]))
    return seen[layer, "mlp_key"][0].T.double().numpy()


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
@pytest.mark.parametrize("tokens", ["all", "subject_last"])
@pytest.mark.parametrize("editor", ["r_rome", "ft", "malmen"])
def test_simie_minimises_the_squared_error_over_all_edits_in_any_order(architecture, tokens, editor):
    """W = W_0 + Σ (W_i - W_0) K_i K_iᵀ (lambda I + Σ K_i K_iᵀ)⁻¹, W_i being fact i's edit of the unedited model."""
    facts, ridge = FACTS[:3], 0.3
    simie = around("simie", editor, settings_of(editor), tokens=tokens, ridge=ridge)
    layer = simie.layers[0]
    unedited = matrices(None, architecture)[layer]
    weighted, gram = np.zeros_like(unedited), ridge * np.eye(unedited.shape[1])
    for fact in facts:
        alone, _, _ = edited(plain(editor), editor, [[fact]], architecture)
        k = keys_of(small_models.language_model_of(architecture), fact, layer, tokens)
        weighted += (matrices(alone, architecture)[layer] - unedited) @ k @ k.T
        gram += k @ k.T
    wanted = weighted @ np.linalg.inv(gram)
    for order in (facts, facts[::-1]):
        together, _, memory = edited(simie, editor, [[fact] for fact in order], architecture)
        drift = matrices(together, architecture)[layer] - unedited
        assert np.linalg.norm(drift - wanted) < 2e-3 * np.linalg.norm(wanted)
        assert np.allclose(memory[f"ideal_editor.{layer}"].numpy(), gram, rtol=1e-4, atol=1e-5)


def test_simie_takes_a_batch_as_one_edit_with_all_its_keys():
    simie = around("simie", "memit", tokens="subject_last", ridge=0.3)
    together, trace, _ = edited(simie, "memit", [FACTS[:2]])
    alone, _, _ = edited(plain("memit"), "memit", [FACTS[:2]])
    for layer in simie.layers:
        assert trace.changes[layer].right.shape[1] == 2
        unedited = matrices(None)[layer]
        lm = small_models.language_model_of("gpt2")
        k = np.concatenate([keys_of(lm, fact, layer, "subject_last") for fact in FACTS[:2]], axis=1)
        wanted = (matrices(alone)[layer] - unedited) @ k @ k.T @ np.linalg.inv(0.3 * np.eye(len(k)) + k @ k.T)
        assert np.allclose(matrices(together)[layer] - unedited, wanted, atol=1e-4)


def test_simie_with_no_ridge_to_speak_of_keeps_an_edit_at_its_own_key():
    """(W - W_edit) k = 0 for one fact, whatever the edit does elsewhere; and its change has rank one."""
    simie = around("simie", "r_rome", tokens="subject_last", ridge=1e-9)
    together, trace, _ = edited(simie, "r_rome", [FACTS[:1]])
    alone, _, _ = edited(plain("r_rome"), "r_rome", [FACTS[:1]])
    k = keys_of(small_models.language_model_of("gpt2"), FACTS[0], 1, "subject_last")
    assert trace.changes[1].left.shape[1] == 1
    assert np.allclose(matrices(together)[1] @ k, matrices(alone)[1] @ k, atol=1e-4)


def test_simies_ridge_left_out_is_a_hundredth_of_the_facts_squared_keys():
    simie = around("simie", "memit")
    _, _, memory = edited(simie, "memit", [FACTS[:2]])
    lm = small_models.language_model_of("gpt2")
    fresh = around("simie", "memit")
    fresh.prepare(lm, small_models.resources(lm))
    for layer in simie.layers:
        squares = [(keys_of(lm, fact, layer, "subject_last") ** 2).sum() for fact in FACTS]
        start = fresh.begin(lm)[f"ideal_editor.{layer}"]
        assert torch.allclose(start, 0.01 * np.mean(squares) * torch.eye(len(start), dtype=torch.float64), rtol=1e-4)
        assert memory[f"ideal_editor.{layer}"].trace() > start.trace()
    without = around("simie", "ft")
    without.prepare(lm, replace(small_models.resources(lm), facts=()))
    with pytest.raises(EditError, match="lambda is left out, and there are no facts to fit it to: give ridge"):
        without.begin(lm)


def test_simie_leaves_biases_unedited():
    parameters, _, _ = edited(around("simie", "ft"), "ft", [[fact] for fact in FACTS[:2]])
    unedited = dict(small_models.language_model_of("gpt2").model.named_parameters())
    changed = {name for name in parameters if not torch.equal(parameters[name], unedited[name])}
    assert changed == {"transformer.h.1.mlp.c_proj.weight"}


@pytest.mark.parametrize("architecture", small_models.ARCHITECTURES)
@pytest.mark.parametrize("editor", ["memit", "alphaedit"])
def test_blue_is_two_edits_of_one_layer_by_hand(architecture, editor):
    inner = settings_of(editor).model_copy(update={"layers": (0, 1, 2)})
    blue = around("blue", editor, inner)
    assert blue.layers == (0, 2)
    found, trace, memory = edited(blue, editor, BATCHES, architecture)
    lm = small_models.language_model_of(architecture)
    lower, upper = (declaration(editor).build(inner.model_copy(update={"layers": (layer,)})) for layer in (0, 2))
    memories = []
    for one in (lower, upper):
        one.prepare(lm, small_models.resources(lm))
        memories.append(one.begin(lm))
    for batch in BATCHES:
        records = [one.edit(lm, own, batch).records for one, own in zip((lower, upper), memories, strict=True)]
    assert same(found, dict(lm.model.named_parameters()))
    assert sorted(trace.changes) == [0, 2]
    for layer, own in zip((0, 2), memories, strict=True):
        assert all(torch.equal(memory[f"layer_{layer}.{name}"], tensor) for name, tensor in own.items())
    for joined, low, up in zip(trace.records, *records, strict=True):
        assert joined == replace(
            up,
            search_steps=low.search_steps + up.search_steps,
            key_norm=low.key_norm,
            residual_norm=low.residual_norm,
        )


def test_blue_writes_the_whole_residual_at_each_layer():
    """A spread method writes a part at the lower layer; here the values searched there are reached as one layer can."""
    inner = settings_of("memit").model_copy(update={"layers": (0, 2), "preservation_weight": 1e-9})
    blue = around("blue", "memit", inner)
    lm = small_models.language_model_of("gpt2")
    blue.prepare(lm, small_models.resources(lm))
    memory = blue.begin(lm)
    own = {name.removeprefix("layer_0."): tensor for name, tensor in memory.items() if name.startswith("layer_0.")}
    wanted = blue.editors[0].search(lm, own, FACTS[:1]).values
    before = at_subject(lm, FACTS[:1], ["{}"], [(0, "residual")])[0, "residual"][:, 0]
    blue.edit(lm, memory, FACTS[:1])
    after = at_subject(lm, FACTS[:1], ["{}"], [(0, "residual")])[0, "residual"][:, 0]
    # Half of it would be left by a share of one layer in two.
    assert (wanted - after).norm() < 0.35 * (wanted - before).norm()


@pytest.mark.parametrize("editor", ["memit", "ft"])
def test_a_remedy_around_an_editor_without_feedback_is_damped_from_the_unedited_matrix(editor):
    """A control arm around a remedy: each damped change on the unedited model, added up."""
    batches = [FACTS[:2], FACTS[2:4]]
    inner = settings_of(editor).model_copy(update={"remember": "nothing"} if editor == "memit" else {})
    arm, _, _ = edited(NoFeedback(around("revive", editor, inner, tau=0.4)), editor, batches)
    parts = [edited(around("revive", editor, inner, tau=0.4), editor, [batch])[0] for batch in batches]
    for layer in inner.layers:
        unedited = matrices(None)[layer]
        wanted = sum(matrices(part)[layer] - unedited for part in parts)
        assert np.allclose(matrices(arm)[layer] - unedited, wanted, atol=1e-5)
    assert innermost("norm_restored-revive-memit") == "memit"


def test_dominant_rows_act_on_keys_however_a_model_stores_its_matrices():
    """GPT-2 stores [inputs, outputs]; its matrix is seen as [outputs, inputs] all the same."""
    for architecture in small_models.ARCHITECTURES:
        lm = small_models.language_model_of(architecture)
        matrix = lm.anatomy.down_projections[1].matrix
        damping = dominant_rows(matrix, 0.5, 0.8)
        assert damping.outputs.shape[1] == 0 and len(damping.keys) == matrix.shape[1] > small_models.WIDTH
