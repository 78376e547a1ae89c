"""What a first look means: one verdict, and what to set for each fault that was measured."""

from dataclasses import replace

import pytest

from normgrowth.measure.causal_trace import average
from normgrowth.measure.gathering import MomentText
from normgrowth.measure.vetting import Knowledge
from normgrowth.report.advice import suggestions, verdict
from tests.support.first_looks import effects, first_look, refused, scores, trial


def knowing(said=120, es=0.2, ns=0.78) -> Knowledge:
    return Knowledge(asked=400, said=said, scored=40, scores=scores(es, 0.25, ns))


def test_a_model_that_knows_its_facts_and_can_be_edited_is_worth_it():
    level, text = verdict(first_look(trial("ft", es=0.4), trial("r_rome"), trial("memit")))
    assert level == "yes"
    assert "will mean something: it says the true object of 120 of 400 facts" in text
    assert text.endswith(", and single edits succeed by 2 of 3 editors")


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({"knowledge": knowing(said=0)}, "no", "nothing about what the model forgets: it says the true object of 0 of"),
        ({"trials": (trial(es=0.85), refused("ft", "no"))}, "no", "120 of 400 facts, but no editor reaches ES 90%"),
        ({"knowledge": knowing(es=0.35)}, "little", "on 65% of prompts and 78% of neighbours, where chance is 50%"),
        ({"knowledge": knowing(ns=0.6)}, "little", "on 80% of prompts and 60% of neighbours, where chance is 50%"),
        ({"knowledge": knowing(es=0.35, ns=None)}, "little", "to the new one on 65% of prompts, where chance is 50%"),
        ({"knowledge": knowing(ns=None)}, "yes", "will mean something"),
    ],
)  # fmt: skip
def test_a_model_that_is_not_says_what_is_missing(changes, level, said):
    found = verdict(first_look(**changes))
    assert found.level == level and said in found.text


def about(vetted) -> str:
    return "\n".join(suggestions(vetted))


def test_a_model_without_a_fault_gets_two_lines():
    vetted = first_look(knowledge=knowing(said=300))
    assert suggestions(vetted) == [
        "Keep the default layer 3: MLPs carry most around layer 3 (75% of the lost probability; around the default "
        "75%).",
        "Plan `edits` by growth: with edits of this size, each in a direction of its own, the norm would have doubled "
        "after about 300 by `r_rome`.",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "The model says 120 of 400 facts: with `known: true` at the facts' source, a study edits those alone."),
        ({"knowledge": knowing(said=0), "trace": None}, "Take facts that the model knows, or another model"),
        ({"default_layer": 7}, "Try layer 3 beside the default 7 (`layers` in an editor's settings): restoring the"),
        ({"default_layer": 7}, "brings back 75% of the probability, the most, and around the default 15%."),
        ({"trace": average([effects(0)])}, "layer 3: beyond the first layer MLPs carry most around layer 2"),
        ({"trace": average([effects(3)] * 2)}, "With 2 facts traced, this is a guess."),
        ({"trace": average([effects(3, corrupted=0.49)])}, "takes only 0.010 of the probability away: the trace"),
        ({"moment_text": MomentText(0, 900)}, "Second moments are of text that the model wrote itself: give `--text`"),
    ],
)  # fmt: skip
def test_what_was_measured_decides_what_to_set(changes, said):
    assert said in about(first_look(**changes))


@pytest.mark.parametrize(("norms", "where"), [(12, "behind the MLPs:"), (5, "behind the MLPs of 5 of 12 layers:")])
def test_norms_behind_mlps_are_said_to_hide_the_scale(norms, where):
    vetted = first_look()
    vetted = replace(vetted, model=replace(vetted.model, post_norms=norms))
    assert f"A norm stands {where} the scale of a down-projection cannot matter there" in about(vetted)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (trial("ft", es=0.35, loss=2.0), "`ft` (ES 35%): its steps are too small or too few; raise `learning_rate` or"),
        (trial("ft_l", es=0.35, loss=8.0), "too small or too few; raise `radius`, `learning_rate` or `steps`."),
        (trial("locft", es=0.35, loss=2.0), "too small or too few; raise `learning_rate` or `epochs`."),
        (trial("ultraedit", es=0.35, loss=2.0), "too small or too few; raise `learning_rate`."),
        (trial(es=0.35, loss=2.0), "`r_rome` (ES 35%): its steps are too small or too few; raise `learning_rate`, `s"),
        (trial(es=0.35, loss=0.1), "`r_rome` (ES 35%): its search succeeds, but what is written does not reach"),
        (trial(ps=0.3), "`r_rome` (PS 30%): edits hold on their own prompt alone."),
        (trial("ft", ns=0.5), "`ft` (30 points of NS): a single edit disturbs neighbours; lower `learning_rate` or"),
        (trial(ns=0.5), "`r_rome` (30 points of NS): a single edit disturbs neighbours; lower `clamp` or"),
        (refused("nas", "no eigenvalue"), "`nas` refuses 20 of 20 edits: no eigenvalue."),
        (trial(made=18, refusal="case 3: overflow"), "`r_rome` refuses 2 of 20 edits: case 3: overflow."),
    ],
)  # fmt: skip
def test_each_fault_of_an_editor_has_its_remedy(of, said):
    assert said in about(first_look(of))


def test_editors_with_the_same_fault_share_a_line():
    found = about(first_look(trial("rome", ps=0.3), trial("memit", ps=0.45), trial("ft")))
    assert "`rome` (PS 30%), `memit` (PS 45%): edits hold on their own prompt alone." in found


def test_growth_is_foretold_from_the_size_of_an_edit():
    fast, slow, failing = trial("r_rome", change=0.13), trial("memit", change=0.02), trial("ft", es=0.1, change=1.0)
    found = about(first_look(slow, fast, failing))
    assert "the norm would have doubled after about 180 by `r_rome`, and not within 1,000 by the others." in found
    assert "the norm would have doubled not within 1,000 by any editor." in about(first_look(slow, failing))
    assert "Plan `edits`" not in about(first_look(failing))
