"""Fixtures: small random models of each architecture, with tokenizers of the same kinds as theirs."""

import os

import pytest
import torch

from tests.support import small_models


def pytest_collection_modifyitems(items):
    if os.environ.get("RUN_SLOW") == "1":
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: set RUN_SLOW=1"))


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
