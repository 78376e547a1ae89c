"""Control arms do to the norm, to the direction or to the feedback what they say, beside the run that they follow."""

import pytest
import torch

from normgrowth.editors.controls import NoFeedback
from normgrowth.editors.registry import declaration
from normgrowth.errors import ArtefactError
from normgrowth.facts.orders import edit_order
from normgrowth.io.tables import read_table
from normgrowth.runs.state import restore
from normgrowth.sources.loading import load_model
from tests.support import small_models
from tests.support.every_editor import settings_of
from tests.support.segments import edit


def test_a_trajectory_that_does_not_reach_is_refused(world, tmp_path):
    for segment, first in ((1, 1), (2, 5)):
        edit(world, tmp_path / "followed", "memit", segment, first, first + 3 - 2 * (segment - 1))
    recorded = tmp_path / "followed/segment-1/norms.parquet"
    with pytest.raises(ArtefactError, match=r"the run of 'memit' that is followed has no record of step 6"):
        edit(world, tmp_path / "arm", "scale_only", 1, 1, 6, trajectory=recorded)
    edit(world, tmp_path / "arm", "scale_only", 1, 1, 4, trajectory=recorded)
    with pytest.raises(ArtefactError, match=r"norms.parquet holds segment 1, where segment 2 belongs; delete it and"):
        edit(world, tmp_path / "arm", "scale_only", 2, 5, 6, trajectory=recorded)
    with pytest.raises(ArtefactError, match=r"norms.parquet holds order 0, where order 1 belongs; delete it and run"):
        edit(world, tmp_path / "arm", "scale_only", 1, 1, 4, trajectory=recorded, order=1)


def test_scale_only_follows_the_norms_and_keeps_the_direction(world, tmp_path):
    edit(world, tmp_path, "scale_only", 1, 1, 6)
    followed, arm = (
        read_table(path, "norms").query("role == 'edited'").set_index(["step", "layer"])
        for path in (world / "followed/segment-1/norms.parquet", tmp_path / "segment-1/norms.parquet")
    )
    common = arm.index.intersection(followed.index)
    assert len(common) == 8  # step 0 and three batches, two layers
    assert arm.loc[common, "frobenius"].to_numpy() == pytest.approx(
        followed.loc[common, "frobenius"].to_numpy(), rel=1e-5
    )
    lm = load_model(world / "model")
    original = lm.anatomy.down_projections[1].matrix.clone()
    restore(lm, tmp_path, 1, {})
    cosine = torch.nn.functional.cosine_similarity(
        lm.anatomy.down_projections[1].matrix.flatten(), original.flatten(), 0
    )
    assert cosine.item() == pytest.approx(1, abs=1e-5)


def test_random_steps_have_the_sizes_of_the_run_that_they_follow(world, tmp_path):
    edit(world, tmp_path, "random_direction", 1, 1, 6)
    followed, arm = (
        read_table(path, "norms").query("role == 'edited' and step > 0").set_index(["step", "layer"])
        for path in (world / "followed/segment-1/norms.parquet", tmp_path / "segment-1/norms.parquet")
    )
    assert arm["delta_frobenius"].to_numpy() == pytest.approx(followed["delta_frobenius"].to_numpy(), rel=1e-3)


def test_restored_norms_stay_as_they_were(world, tmp_path):
    edit(world, tmp_path, "norm_restored", 1, 1, 6)
    norms = read_table(tmp_path / "segment-1/norms.parquet", "norms").query("role == 'edited' and step > 0")
    assert norms["frobenius_ratio"].to_numpy() == pytest.approx(1, abs=1e-6)
    assert (norms["drift_frobenius"] > 0).all()


@pytest.mark.parametrize("kind", ["memit", "ft"])
def test_edits_without_feedback_are_the_sum_of_edits_of_the_unedited_model(world, tmp_path, kind):
    """The change after two batches is that of each batch alone on the unedited model, added up."""
    facts = edit_order(small_models.facts(), 0, 0)
    resources = small_models.resources(load_model(world / "model"))

    def changed(editor_of, batches):
        lm = load_model(world / "model")
        editor = editor_of(declaration(kind).build(settings_of(kind).model_copy(update={"remember": "nothing"})))
        editor.prepare(lm, resources)
        memory = editor.begin(lm)
        before = [lm.anatomy.down_projections[layer].matrix.clone() for layer in editor.layers]
        for batch in batches:
            editor.edit(lm, memory, batch)
        return [lm.anatomy.down_projections[n].matrix - b for n, b in zip(editor.layers, before, strict=True)]

    both = changed(NoFeedback, [facts[:2], facts[2:4]])
    alone = [changed(lambda editor: editor, [part]) for part in (facts[:2], facts[2:4])]
    for total, *parts in zip(both, *alone, strict=True):
        assert torch.allclose(total, sum(parts), atol=1e-5)
        assert total.norm() > 0
