"""The library and the plain implementation say the same, over random facts, contexts, paddings and batches."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers.activations import NewGELUActivation

from benchmarks import plain
from normgrowth.editors import memit, r_rome
from normgrowth.editors.locate.search import Search, search_targets
from normgrowth.editors.moments import gather_second_moments
from normgrowth.facts.records import _fact, read_facts
from normgrowth.lm.model import language_model
from normgrowth.measure.scores import score_facts
from normgrowth.sources.loading import load_model
from normgrowth.sources.manifest import write_manifest
from tests.support import small_models

SHARED = Path(__file__).resolve().parents[2] / "shared"
WORDS = ("It", "rained", "and", "the", "home", "of", "Oslo", "was", "Ñuble", "born")
CONTEXT = 256  # tokens, of the longest prompts that are drawn
MODELS = {name: small_models.language_model_of(name, context=CONTEXT) for name in small_models.ARCHITECTURES}

words = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)


@st.composite
def new_facts(draw):
    """Facts with questions, subjects and objects of any length."""
    facts = []
    for number in range(draw(st.integers(1, 5))):
        subject = " ".join(draw(st.lists(st.sampled_from(small_models.SUBJECTS), min_size=1, max_size=2)))
        new, true = draw(st.permutations(small_models.PLACES))[:2]
        record = {
            "case_id": number,
            "requested_rewrite": {
                "relation_id": "P19",
                "prompt": f"{draw(words)} {{}} {draw(words)} in".strip(),
                "target_new": {"str": new},
                "target_true": {"str": true},
                "subject": subject,
            },
            "paraphrase_prompts": [f"{draw(words)} {subject} is" for _ in range(draw(st.integers(0, 2)))],
            "neighborhood_prompts": [f"{draw(words)} was born in" for _ in range(draw(st.integers(0, 3)))],
        }
        facts.append(_fact(record, "drawn"))
    return facts


contexts = st.lists(words.map(lambda text: f"{text}. {{}}"), max_size=3).map(lambda others: ["{}", *others])
some = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("site", ["mlp_output", "residual"])
@some
@given(facts=new_facts(), contexts=contexts, stop=st.sampled_from([0.0, 2.0, 6.0]), layer=st.integers(0, 2))
def test_targets_agree(name, site, facts, contexts, stop, layer):
    lm = MODELS[name]
    chosen = r_rome.Settings(layers=(layer,), steps=5, learning_rate=0.2, stop_loss=stop, clamp=2.0)
    found = search_targets(lm, facts, contexts, Search(((layer, site),), chosen))
    for i, fact in enumerate(facts):
        expected, steps = plain.search(lm, fact, contexts, [(layer, site)], chosen)
        assert found.steps[i] == steps
        assert (found.values[i] - expected).norm() <= 1e-4 * expected.norm()


def update(name: str, layers: tuple[int, ...], edit) -> list[torch.Tensor]:
    """What an edit adds to the down-projections of a fresh model."""
    lm = small_models.language_model_of(name, context=CONTEXT)
    before = [lm.anatomy.down_projections[layer].matrix.double().clone() for layer in layers]
    edit(lm, small_models.resources(lm))
    return [lm.anatomy.down_projections[layer].matrix.double() - old for layer, old in zip(layers, before, strict=True)]


def by_editor(kind, chosen, facts):
    def edit(lm, resources):
        editor = kind.build(chosen)
        editor.prepare(lm, resources)
        editor.edit(lm, editor.begin(lm), facts)

    return edit


@pytest.mark.parametrize("name", MODELS)
@some
@given(facts=new_facts(), weight=st.sampled_from([1.0, 30.0]))
def test_memit_writes_the_same(name, facts, weight):
    chosen = memit.Settings(
        layers=(0, 1), steps=4, learning_rate=0.2, stop_loss=0.0, preservation_weight=weight, norm_weight=0.1
    )
    found = update(name, chosen.layers, by_editor(memit, chosen, facts))
    expected = update(name, chosen.layers, lambda lm, resources: plain.memit(lm, resources, chosen, facts))
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= 1e-4 * other.norm()


@pytest.mark.parametrize("name", MODELS)
@some
@given(facts=new_facts())
def test_r_rome_writes_the_same(name, facts):
    chosen = r_rome.Settings(layers=(1,), steps=4, learning_rate=0.2, stop_loss=0.0)
    (found,) = update(name, chosen.layers, by_editor(r_rome, chosen, facts[:1]))
    (expected,) = update(name, chosen.layers, lambda lm, resources: plain.r_rome(lm, resources, chosen, facts[0]))
    assert (found - expected).norm() <= 1e-4 * expected.norm()


@pytest.mark.parametrize("name", MODELS)
@some
@given(facts=new_facts())
def test_scores_decide_the_same(name, facts):
    same_decisions(MODELS[name], facts)
    for fact in facts:
        at_once = plain.score_in_one_pass(MODELS[name], fact)
        assert at_once == pytest.approx(plain.score(MODELS[name], fact), nan_ok=True)


def test_one_operation_is_the_activation_of_transformers():
    ids = torch.arange(1, 41)[None]
    model = small_models.model_of("gpt2").eval()
    with torch.no_grad():
        as_it_was = model(ids).logits
        lm = language_model(model, small_models.tokenizer("gpt2"))
        assert not any(isinstance(module, NewGELUActivation) for module in lm.model.modules())
        assert torch.allclose(lm.model(ids).logits, as_it_was, rtol=1e-5, atol=1e-5)


def same_decisions(lm, facts) -> None:
    found = score_facts(lm, facts)
    for i, fact in enumerate(facts):
        for column, expected in plain.score(lm, fact).items():
            assert found[column][i] == pytest.approx(expected, nan_ok=True), (fact.case_id, column)


@pytest.mark.parametrize("name", MODELS)
def test_second_moments_agree(name):
    lm = MODELS[name]
    windows = list(torch.randint(1, len(lm.tokenizer), (3, 4, 24), generator=torch.Generator().manual_seed(1)))
    found = gather_second_moments(lm, windows, [0, 2])
    for layer, expected in plain.second_moments(lm, windows, [0, 2]).items():
        assert torch.allclose(found[layer].moment, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "models").is_dir(), reason="the model that knows real facts is not at hand")
def test_scores_of_real_records_decide_the_same(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in (SHARED / "models/cf-gpt2-7m").iterdir():
        (folder / file.name).symlink_to(file)
    write_manifest(folder, {"kind": "test"})
    facts = read_facts(SHARED / "models/cf-gpt2-7m/records.json")[:100]
    same_decisions(load_model(folder), [replace(fact, neighbours=fact.neighbours[:3]) for fact in facts])
