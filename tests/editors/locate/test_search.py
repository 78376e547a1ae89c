"""The batched target search against the plain one, for both sites and any mix of facts."""

import pytest
import torch

from benchmarks import plain
from normgrowth.editors.locate import search as targets_module
from normgrowth.editors.locate.search import Search, search_targets
from normgrowth.editors.settings import SearchSettings
from normgrowth.errors import EditError
from normgrowth.lm.hooks import changing
from normgrowth.lm.tokens import encode, encode_with_target, fill, last_token_of
from tests.support import small_models

CONTEXTS = small_models.CONTEXTS["uniform"]
SETTINGS = SearchSettings(steps=6, learning_rate=0.2, stop_loss=0.0, clamp=3.0)


@pytest.mark.parametrize("site", ["mlp_output", "residual"])
def test_agrees_with_the_plain_search(lm, site):
    facts = small_models.facts()
    found = search_targets(lm, facts, CONTEXTS, Search(((1, site),), SETTINGS))
    for i, fact in enumerate(facts):
        expected = plain.search(lm, fact, CONTEXTS, [(1, site)], SETTINGS)[0]
        assert (found.values[i] - expected).norm() <= 1e-4 * expected.norm()
        assert found.steps[i] == SETTINGS.steps - 1


def test_a_fact_finds_the_same_target_in_any_company(lm):
    facts = small_models.facts()
    # The loss at which some facts stop early and others do not, so that finished rows leave.
    losses = search_targets(lm, facts, CONTEXTS, Search(((1, "residual"),), SETTINGS)).losses
    settings = SETTINGS.model_copy(update={"stop_loss": sorted(losses)[3]})
    together = search_targets(lm, facts, CONTEXTS, Search(((1, "residual"),), settings))
    assert len(set(together.steps)) > 1
    for i, fact in enumerate(facts):
        alone = search_targets(lm, [fact], CONTEXTS, Search(((1, "residual"),), settings))
        assert alone.steps[0] == together.steps[i]
        assert (alone.values[0] - together.values[i]).norm() <= 1e-4 * alone.values[0].norm()


def test_splitting_into_passes_changes_nothing(lm, monkeypatch):
    facts = small_models.facts()
    whole = search_targets(lm, facts, CONTEXTS, Search(((1, "residual"),), SETTINGS))
    monkeypatch.setattr(targets_module, "ROWS_PER_PASS", 9)
    parts = search_targets(lm, facts, CONTEXTS, Search(((1, "residual"),), SETTINGS))
    assert torch.allclose(whole.values, parts.values, rtol=1e-4, atol=1e-5)


def test_offsets_are_clamped(lm):
    settings = SETTINGS.model_copy(update={"clamp": 0.1, "learning_rate": 1.0})
    found = search_targets(lm, small_models.facts(), CONTEXTS, Search(((1, "residual"),), settings))
    start = found.values - found.offsets
    assert (found.offsets.norm(dim=1) <= 0.1 * start.norm(dim=1) * (1 + 1e-5)).all()


def test_the_final_loss_is_that_of_the_returned_target(lm):
    """With nothing but likelihood in the loss, injecting the target gives the reported value."""
    fact = small_models.facts()[0]
    settings = SETTINGS.model_copy(update={"kl_factor": 0.0, "weight_decay": 0.0})
    found = search_targets(lm, [fact], ["{}"], Search(((1, "residual"),), settings))
    position = last_token_of(encode(lm.tokenizer, fact.question), fact.subject_span)

    def put(hidden):
        hidden = hidden.clone()
        hidden[0, position] = found.values[0]
        return hidden

    with changing(lm.anatomy, (1, "residual"), put):
        ids, first = encode_with_target(lm.tokenizer, fact.question, fact.target_new)
        predicted = lm.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    loss = -sum(predicted[i - 1, ids[i]] for i in range(first, len(ids))) / (len(ids) - first)
    assert loss.item() == pytest.approx(found.losses[0], abs=1e-4)


def test_a_loss_that_is_no_number_names_the_edit(lm):
    lm.anatomy.down_projections[2].weight.fill_(float("nan"))
    with pytest.raises(EditError, match="case 10 gave a loss of nan at its step 1"):
        search_targets(lm, small_models.facts()[:1], CONTEXTS, Search(((1, "residual"),), SETTINGS))


def test_offsets_at_two_places_agree_with_the_plain_search(lm):
    """PMET's pair: each with its own decay and clamp, the second's value returned."""
    places = ((1, "attention_output"), (1, "mlp_output"))
    settings = SETTINGS.model_copy(update={"clamp": 0.5})
    for fact in small_models.facts()[:2]:
        found = search_targets(lm, [fact], CONTEXTS, Search(places, settings))
        expected = plain.search(lm, fact, CONTEXTS, list(places), settings)[0]
        assert (found.values[0] - expected).norm() <= 1e-4 * expected.norm()


def nearly_known(lm):
    """A fact with an object of one token, and the model made to hold that object nearly the most probable."""
    for fact in small_models.facts():
        sequences = []
        for context in CONTEXTS:
            text, _ = fill(context, fact.question, fact.subject_span)
            sequences.append(encode_with_target(lm.tokenizer, text, fact.target_new))
        if all(len(ids) - first == 1 for ids, first in sequences):
            break
    hidden = torch.stack([lm.hidden(*lm.pad([ids[:-1]]))[0, -1] for ids, _ in sequences])
    best = lm.logits(hidden).amax(dim=1)
    lm.anatomy.head.weight[sequences[0][0][-1]] = torch.linalg.pinv(hidden) @ (best - 0.002)
    return fact


def test_early_stopping_counts_the_times_that_the_object_has_won(lm):
    """ENCORE: the search for one win ends with the first offset that wins under every context but the bare prompt."""
    fact = nearly_known(lm)
    long = SETTINGS.model_copy(update={"steps": 60, "clamp": 20.0, "kl_factor": 0.0, "weight_decay": 0.0})

    def steps(**changes):
        found = search_targets(lm, [fact], CONTEXTS, Search(((1, "residual"),), long.model_copy(update=changes)))
        return found.steps[0], wins(lm, fact, found.offsets[0])

    once, won = steps(most_probable_stop=1)
    assert 0 < once < 59 and won
    assert steps(steps=once) == (once - 1, False)
    assert steps(most_probable_stop=3)[0] == once + 2


def wins(lm, fact, offset) -> bool:
    """Whether the object is the most probable one under every context but the bare prompt, the offset in place."""
    for context in CONTEXTS[1:]:
        text, span = fill(context, fact.question, fact.subject_span)
        ids, first = encode_with_target(lm.tokenizer, text, fact.target_new)
        position = last_token_of(encode(lm.tokenizer, text), span)

        def put(hidden, position=position):
            hidden = hidden.clone()
            hidden[0, position] += offset
            return hidden

        with changing(lm.anatomy, (1, "residual"), put):
            best = lm.model(input_ids=torch.tensor([ids])).logits[0].argmax(-1).tolist()
        if best[first - 1 : -1] != list(ids[first:]):
            return False
    return True


def test_searches_that_stop_together_do_so_at_their_mean_loss(lm):
    facts = small_models.facts()
    place = ((1, "residual"),)
    trail = [
        search_targets(lm, facts, ["{}"], Search(place, SETTINGS.model_copy(update={"steps": steps}))).losses
        for steps in range(1, 7)
    ]
    means = [sum(losses) / len(losses) for losses in trail]
    settings = SETTINGS.model_copy(update={"stop_loss": means[3] + 1e-4})
    assert min(trail[1]) < settings.stop_loss < min(means[:3])  # some would stop before the others
    together = search_targets(lm, facts, ["{}"], Search(place, settings, together=True))
    assert together.steps == [3] * len(facts)
    assert together.losses == pytest.approx(trail[3], rel=1e-4)
    assert len(set(search_targets(lm, facts, ["{}"], Search(place, settings)).steps)) > 1
