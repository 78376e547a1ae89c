"""Fixtures: small random models of each architecture, with tokenizers of the same kinds as theirs."""

import os

import pytest
import torch

from tests.support import small_models


def pytest_collection_modifyitems(items):
    """Files that take longest go first, so that workers end together; slow tests are skipped unless asked for."""
    for marker, variable in (("slow", "RUN_SLOW"), ("pretrained", "RUN_PRETRAINED")):
        if os.environ.get(variable) != "1":
            for item in items:
                if marker in item.keywords:
                    item.add_marker(pytest.mark.skip(reason=f"{marker}: set {variable}=1"))
    with_slow = {item.path for item in items if "slow" in item.keywords}

    def group(item) -> int:
        """Number of the group that a test's file belongs to; groups run one after another."""
        room = item.path.parent.name
        return ["cluster", "workflow"].index(room) if room in ("cluster", "workflow") else 3 - (item.path in with_slow)

    items.sort(key=group)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(params=small_models.ARCHITECTURES)
def lm(request):
    """A fresh small model of each architecture; tests may edit it."""
    return small_models.language_model_of(request.param)


@pytest.fixture(params=small_models.ARCHITECTURES)
def model_folder(request, tmp_path):
    """A saved small model of each architecture, as the workflow keeps it."""
    return small_models.save(request.param, tmp_path / "model")
