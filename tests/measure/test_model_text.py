"""Text for second moments: a file's first, and the model's own where that is not enough."""

import pytest
import torch

from normgrowth.errors import ArtefactError, ModelError
from normgrowth.measure import model_text
from normgrowth.measure.model_text import TOKENS_PER_UNIT, text_for_moments, windows_in
from normgrowth.sources.text import windows
from tests.support import small_models


def least(lm) -> int:
    """Tokens that a second moment of this model takes."""
    return TOKENS_PER_UNIT * lm.anatomy.down_projections[0].matrix.shape[1]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(small_models.text(), encoding="utf-8")
    return path


def test_a_long_text_is_read_as_far_as_asked(lm, file):
    found = text_for_moments(lm, file, least(lm) + 64, 16, seed=3)
    count = (least(lm) + 64) // 16
    assert torch.equal(found.windows, windows(file, lm.tokenizer, 16, count, 3, "second moments"))
    assert (found.read, found.written) == (count * 16, 0)


def test_the_model_fills_up_a_short_text(lm, tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("\n\n".join(small_models.SENTENCES[:4]), encoding="utf-8")
    found = text_for_moments(lm, path, 10_000, 16, seed=3)
    assert 0 < found.read < least(lm) <= found.read + found.written == found.windows.numel()
    assert found.windows.shape[1] == 16


def test_without_a_text_the_model_writes_all_of_it(lm):
    found = text_for_moments(lm, None, 10_000, 16, seed=3)
    assert found.read == 0 and least(lm) <= found.written < least(lm) + 32
    assert len({tuple(row) for row in found.windows.tolist()}) > 0.9 * len(found.windows)
    again = text_for_moments(lm, None, 10_000, 16, seed=3)
    assert torch.equal(found.windows, again.windows)
    other = text_for_moments(lm, None, 10_000, 16, seed=4)
    assert found.windows.tolist() != other.windows.tolist()


def test_a_model_that_writes_nothing_asks_for_a_text(lm, monkeypatch):
    def ends_at_once(*_):
        raise ModelError("the model ends its texts at their first words")

    monkeypatch.setattr(model_text, "write_documents", ends_at_once)
    with pytest.raises(ModelError, match=r"no second moments: the model ends .* first words \(--text, or text=\)"):
        text_for_moments(lm, None, 10_000, 16, seed=3)


def test_a_text_of_less_than_a_window_is_refused(lm, tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("Oslo.", encoding="utf-8")
    with pytest.raises(ArtefactError, match=r"short.txt holds \d tokens, fewer than a window of 64: give more text"):
        windows_in(lm, path, 64, 10_000)


@pytest.mark.parametrize("documents", range(1, 24))
def test_counted_windows_can_be_cut(lm, tmp_path, documents):
    """Whatever the length of the text; where the tokenizer has a start token, each window begins with one."""
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(small_models.SENTENCES[:documents]), encoding="utf-8")
    count = windows_in(lm, path, 12, 10_000)
    assert len(windows(path, lm.tokenizer, 12, count, 0, "test")) == count
