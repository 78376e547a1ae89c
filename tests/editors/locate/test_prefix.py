"""Running a search's rows from their subjects on, against whole passes."""

import pytest
import torch

from normgrowth.editors.locate.prefix import freeze
from normgrowth.editors.locate.search_rows import lay_out, prompts_of
from tests.support import small_models

CONTEXTS = small_models.CONTEXTS["uniform"]


def from_subjects_on(hidden, rows):
    """Of final-norm outputs of whole rows, those from each row's subject on, as one flat list."""
    parts = []
    for row, (start, length) in enumerate(zip(rows.subject_last.tolist(), rows.mask.sum(dim=1).tolist(), strict=True)):
        parts.append(hidden[row, start:length])
    return torch.cat(parts)


def of_frozen(frozen, hidden):
    within = frozen.mask[:, frozen.mask.shape[1] - frozen.ids.shape[1] :].bool()
    return hidden[within]


@pytest.mark.parametrize("first", range(small_models.N_LAYERS + 1))
def test_what_is_run_equals_the_whole_pass(lm, first):
    rows = lay_out(lm, [prompts_of(lm, fact, CONTEXTS) for fact in small_models.facts()])
    frozen, whole = freeze(lm, rows, first, [])[0], lm.hidden(rows.ids, rows.mask)
    expected = from_subjects_on(whole, rows)
    assert torch.allclose(of_frozen(frozen, frozen.hidden(lm)), expected, atol=2e-5)
    # A second pass finds the same prefix: passes do not add to it.
    assert torch.equal(frozen.hidden(lm), frozen.hidden(lm))


def test_rows_can_leave(lm):
    facts = small_models.facts()
    rows = lay_out(lm, [prompts_of(lm, fact, CONTEXTS) for fact in facts])
    frozen = freeze(lm, rows, 2, [])[0]
    fewer, kept = rows.select([4, 1])
    alone = lay_out(lm, [prompts_of(lm, facts[i], CONTEXTS) for i in (4, 1)])
    smaller = frozen.select(kept)
    hidden, whole = smaller.hidden(lm), lm.hidden(alone.ids, alone.mask)
    for number in range(2):
        row, other = fewer.bare[number], alone.bare[number]
        length = int(alone.mask[other].sum()) - int(alone.subject_last[other])
        expected = whole[other, alone.subject_last[other] :][:length]
        assert torch.allclose(hidden[row, :length], expected, atol=2e-5)
        mine = (fewer.fact[fewer.scored_row] == number).nonzero().squeeze(1)
        theirs = (alone.fact[alone.scored_row] == number).nonzero().squeeze(1)
        assert torch.equal(fewer.scored_token[mine], alone.scored_token[theirs])


def test_a_subject_at_the_very_start_has_no_prefix(lm):
    fact = next(fact for fact in small_models.facts() if fact.prompt.startswith("{}"))
    rows = lay_out(lm, [prompts_of(lm, fact, ["{}"])])
    rows = type(rows)(**{**vars(rows), "subject_last": torch.zeros_like(rows.subject_last)})
    frozen, whole = freeze(lm, rows, 1, [])[0], lm.hidden(rows.ids, rows.mask)
    assert frozen.mask.shape == frozen.ids.shape
    assert torch.allclose(of_frozen(frozen, frozen.hidden(lm)), from_subjects_on(whole, rows), atol=2e-5)


def test_blocks_run_again_afterwards(lm):
    rows = lay_out(lm, [prompts_of(lm, small_models.facts()[0], CONTEXTS)])
    before = lm.hidden(rows.ids, rows.mask)
    frozen = freeze(lm, rows, 3, [])[0]
    frozen.hidden(lm)
    assert torch.equal(lm.hidden(rows.ids, rows.mask), before)
    assert not any("forward" in vars(block) for block in lm.anatomy.blocks)
