"""What was gathered for another model, seed or layer is refused in one line, and so is what holds none of it."""

import pytest
import torch

from normgrowth.editors.resources import read_contexts, read_null_spaces, read_second_moments
from normgrowth.editors.settings import NULL_SPACES, SECOND_MOMENTS
from normgrowth.errors import ArtefactError
from normgrowth.io.documents import write_json
from normgrowth.io.tensors import write_tensors
from tests.support import small_models

OF = {"model": "a", "seed": 0}


def said(read, *given) -> str:
    with pytest.raises(ArtefactError) as caught:
        read(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (
            {**OF, "model": "b", "templates": small_models.CONTEXTS},
            "holds model 'b', where model 'a' belongs; delete it",
        ),
        (
            {**OF, "seed": 3, "templates": small_models.CONTEXTS},
            "holds seed 3, where seed 0 belongs; delete it and run",
        ),
        (small_models.CONTEXTS, "does not say its model, seed: another version of the package wrote it; delete it and"),
        ([], "holds no context templates: it is no JSON object; delete it and run the workflow again"),
        (
            OF,
            "holds no context templates: lists uniform and grouped of texts with one {} each are asked for; delete it",
        ),
        ({**OF, "templates": {"uniform": ["{}"], "grouped": []}}, "holds no context templates: lists"),
        ({**OF, "templates": {"uniform": ["{}"], "grouped": ["none"]}}, "holds no context templates: lists"),
        ({**OF, "templates": {"uniform": ["{}"], "grouped": [1]}}, "holds no context templates: lists"),
        ({**OF, "templates": {"uniform": "{}", "grouped": ["{}"]}}, "holds no context templates: lists"),
    ],
)
def test_contexts_are_templates_of_this_model_and_seed(tmp_path, held, message):
    path = tmp_path / "contexts.json"
    write_json(path, held)
    assert said(read_contexts, path, OF).startswith(f"{path} {message}")
    write_json(path, {**OF, "per_length": 1, "templates": small_models.CONTEXTS})
    assert read_contexts(path, OF) == small_models.CONTEXTS


def test_moments_are_of_this_model_seed_and_these_layers(lm, tmp_path):
    path, width = tmp_path / "moments.safetensors", lm.anatomy.down_projections[1].matrix.shape[1]
    tensors = {"moment.1": torch.eye(width, dtype=torch.float64)}
    whole = {**OF, "layers": [1], "count": 9}

    def message(layers=(1,), of=OF, **changes) -> str:
        write_tensors(path, tensors, {k: v for k, v in (whole | changes).items() if v is not None}, SECOND_MOMENTS)
        return said(read_second_moments, path, of, lm, layers).removeprefix(f"{path} ")

    assert message(model="b").startswith("holds model 'b', where model 'a' belongs; delete it")
    assert message(seed=7).startswith("holds seed 7, where seed 0 belongs; delete it")
    assert message(layers=(0, 1)).startswith("holds layers 1, and not 0; delete it and run the workflow again")
    assert message(count=None).startswith("holds no count: another version of the package wrote it")
    assert message(of={**OF, "text": "x"}).startswith("does not say its text: another version of the package wrote it")
    tensors = {"moment.2": tensors["moment.1"]}
    assert message().startswith("holds no moment.1: another version of the package wrote it; delete it")
    tensors = {"moment.9": tensors["moment.2"]}
    write_tensors(path, tensors, {**whole, "layers": [9]}, SECOND_MOMENTS)
    assert "is for layer 9, which the model does not have" in said(read_second_moments, path, OF, lm, (9,))
    write_tensors(path, tensors, whole, NULL_SPACES)
    assert f"holds {NULL_SPACES}, not {SECOND_MOMENTS}; delete it" in said(read_second_moments, path, OF, lm, (1,))
    write_tensors(path, tensors, whole, SECOND_MOMENTS)
    assert f"holds {SECOND_MOMENTS}, not {NULL_SPACES}" in said(read_null_spaces, path, OF, lm, (1,), None)
