"""A model with everything that editing it needs, in files."""

import pytest

from normgrowth.editors.settings import GRADIENT_MOMENTS, HYPERNETWORK, SECOND_MOMENTS
from normgrowth.io.documents import write_json
from normgrowth.io.provenance import file_sha256
from normgrowth.io.tensors import write_tensors
from normgrowth.sources.loading import load_model
from normgrowth.sources.manifest import revision
from tests.support import small_models
from tests.support.every_editor import CONTROLLED, WRITERS, hypernetwork_of, settings_of
from tests.support.segments import edit, null_spaces


@pytest.fixture(scope="module", params=small_models.ARCHITECTURES)
def world(request, tmp_path_factory):
    """A saved model with facts, contexts and second moments, as the workflow would have made them."""
    folder = tmp_path_factory.mktemp("world")
    model = small_models.save(request.param, folder / "model")
    write_json(folder / "facts.json", small_models.records())
    small_models.write_contexts(folder / "contexts.json", model)
    lm = load_model(model)
    resources = small_models.resources(lm)
    for name, moments, of in (
        ("moments", resources.second_moments, SECOND_MOMENTS),
        ("gradients", resources.gradient_moments, GRADIENT_MOMENTS),
    ):
        write_tensors(
            folder / f"{name}.safetensors",
            {f"moment.{layer}": moment.moment for layer, moment in moments.items()},
            {"model": revision(model), "seed": 0, "text": "none", "layers": list(moments), "count": 1536},
            of,
        )
    assert null_spaces(folder, folder / "null-spaces.safetensors", "--threshold", str(small_models.THRESHOLD)) == 0
    for kind in WRITERS:
        if tensors := hypernetwork_of(kind, lm):
            trained = {"model": revision(model), "kind": kind, "settings": settings_of(kind).model_dump(mode="json")}
            trained |= {"seed": 0, "facts": file_sha256(folder / "facts.json"), "reserved_facts": 0}
            write_tensors(folder / f"{kind}.safetensors", tensors, trained, HYPERNETWORK)
    edit(folder, folder / "followed", CONTROLLED, 1, 1, 6)
    for segment in (1, 2, 3):
        edit(folder, folder / "followed-in-three", CONTROLLED, segment, 2 * segment - 1, 2 * segment)
    return folder
