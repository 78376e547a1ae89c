"""Text that a model writes."""

import pytest
import torch

from normgrowth.errors import ModelError
from normgrowth.lm import free_text
from normgrowth.lm.free_text import OPENINGS, before_end, write_documents
from normgrowth.lm.tokens import encode
from normgrowth.sources.text import documents
from tests.support import small_models


@pytest.fixture(scope="module", params=small_models.ARCHITECTURES)
def lm(request):
    return small_models.language_model_of(request.param)


def test_documents_hold_the_tokens_asked_for_and_no_blank_lines(lm, tmp_path):
    texts = write_documents(lm, tokens=600, length=32, top_k=20, seed=1)
    assert len(texts) >= 600 // 32 and all(text.strip() and "\n\n" not in text for text in texts)
    (tmp_path / "text.txt").write_text("\n\n".join(texts) + "\n")
    assert len(documents(tmp_path / "text.txt")) == len(texts)
    assert write_documents(lm, tokens=600, length=32, top_k=20, seed=1) == texts
    assert write_documents(lm, tokens=600, length=32, top_k=20, seed=2) != texts


def test_the_most_probable_token_follows_where_one_is_asked_for(lm):
    (text,) = write_documents(lm, tokens=1, length=24, top_k=1, seed=0)
    ids = list(encode(lm.tokenizer, OPENINGS[0]).ids)
    for _ in range(24 - max(len(encode(lm.tokenizer, opening).ids) for opening in OPENINGS)):
        row = torch.tensor([ids])
        ids.append(lm.model(row).logits[0, -1].argmax().item())
    opening = len(encode(lm.tokenizer, OPENINGS[0]).ids)
    written = before_end(ids[opening:], lm.tokenizer.eos_token_id)
    assert text == free_text._text(lm, [*ids[:opening], *written])


def test_a_document_ends_before_the_end_of_text():
    assert before_end([5, 2, 7, 2], 2) == [5]
    assert before_end([5, 7], 2) == before_end([5, 7], None) == [5, 7]


def test_a_model_that_writes_nothing_is_refused(lm, monkeypatch):
    end = lm.tokenizer.eos_token_id
    monkeypatch.setattr(free_text, "go_on", lambda lm, prompts, *_: [[end] for _ in prompts])
    with pytest.raises(ModelError, match="ends its texts at their first words"):
        write_documents(lm, tokens=600, length=32, top_k=20, seed=1)


def test_documents_longer_than_the_context_are_refused(lm):
    with pytest.raises(ModelError, match="tokens"):
        write_documents(lm, tokens=600, length=100, top_k=20, seed=1)
