"""Scores, activations, perplexity and second moments against plain computations."""

import math
from dataclasses import replace

import pytest
import torch

from benchmarks import plain
from normgrowth.analysis.edit_scores import harmonic_mean
from normgrowth.cli import main
from normgrowth.commands import statistics as statistics_command
from normgrowth.editors.moments import gather_second_moments
from normgrowth.facts.records import SubjectPrompt
from normgrowth.io.documents import write_text
from normgrowth.lm.continuations import continuations
from normgrowth.measure import activations
from normgrowth.measure import scores as scores_module
from normgrowth.measure.ability import read_text, text_rows
from normgrowth.measure.activations import Where, activations_on, make_probes
from normgrowth.measure.geometry import compare_activations
from normgrowth.measure.scores import score_facts
from tests.support import small_models


def asked_about_subjects():
    """Facts with as many prompts about their subjects as their place in the list says."""
    others = (("{} lives in", "Oslo Rome"), ("The friends of {} like", "tea"), ("{} speaks", "Greek"))
    facts = small_models.facts()
    return [
        replace(fact, subject_prompts=tuple(SubjectPrompt(p.format(fact.subject), t) for p, t in others[:number]))
        for number, fact in enumerate(facts)
    ]


def test_scores_equal_those_of_one_prompt_at_a_time(lm):
    facts = asked_about_subjects()
    found = score_facts(lm, facts)
    for i, fact in enumerate(facts):
        new, true = fact.target_new, fact.target_true
        for kind, asked in (
            ("e", [(fact.question, new, true)]),
            ("p", [(prompt, new, true) for prompt in fact.paraphrases]),
            ("n", [(prompt, true, new) for prompt in fact.neighbours]),
            ("r", [(prompt, own, new) for prompt, own in fact.subject_prompts]),
        ):
            if not asked:
                assert (i, kind) == (0, "r") and all(math.isnan(found[kind + suffix][i]) for suffix in "sma")
                continue
            pairs = [(plain.loss_of(lm, p, wanted), plain.loss_of(lm, p, other)) for p, wanted, other in asked]
            assert found[f"{kind}s"][i] == pytest.approx(sum(a[0] < b[0] for a, b in pairs) / len(pairs))
            assert found[f"{kind}a"][i] == pytest.approx(sum(a[1] for a, b in pairs) / len(pairs))
            magnitude = sum(math.exp(-a[0]) - math.exp(-b[0]) for a, b in pairs) / len(pairs)
            assert found[f"{kind}m"][i] == pytest.approx(magnitude, abs=1e-5)


def test_the_former_object_of_a_fact_edited_before_is_one_more_to_beat(lm):
    """Edited again: new over true and former; put back: true over former. Neighbours: true over new and former."""
    again, back = (
        replace(fact, former="New Delhi", **changes)
        for fact, changes in zip(
            small_models.facts()[:2], ({}, {"target_new": "Rome", "target_true": "Rome"}), strict=True
        )
    )
    assert (again.target_new, again.target_true) == ("Oslo", "Lisbon")
    found = score_facts(lm, [again, back])
    for i, (fact, parts) in enumerate(
        (
            (again, {"e": ("Oslo", "Lisbon", "New Delhi"), "n": ("Lisbon", "Oslo", "New Delhi")}),
            (back, {"e": ("Rome", "New Delhi"), "n": ("Rome", "New Delhi")}),
        )
    ):
        for kind, prompts, objects in (
            ("e", [fact.question], parts["e"]),
            ("p", fact.paraphrases, parts["e"]),
            ("n", fact.neighbours, parts["n"]),
        ):
            losses = [[plain.loss_of(lm, p, each)[0] for each in objects] for p in prompts]
            won = [of[0] < min(of[1:]) for of in losses]
            leads = [math.exp(-of[0]) - max(math.exp(-loss) for loss in of[1:]) for of in losses]
            assert found[f"{kind}s"][i] == pytest.approx(sum(won) / len(won))
            assert found[f"{kind}m"][i] == pytest.approx(sum(leads) / len(leads), abs=1e-5)


def test_other_relations_of_a_subject_have_to_beat_what_edits_wrote_but_not_the_true_object(lm):
    fact, prompt = small_models.facts()[0], "Vela Marun lives in"
    again = replace(fact, former="New Delhi")
    back = replace(again, target_new=fact.target_true)
    for edit, own, others in (
        (again, "Rome", ("Oslo", "New Delhi")),
        (again, "oslo", ("New Delhi",)),
        (back, "Rome", ("New Delhi",)),
    ):
        found = score_facts(lm, [replace(edit, subject_prompts=(SubjectPrompt(prompt, own),))])
        wanted, *rivals = (plain.loss_of(lm, prompt, one)[0] for one in (own, *others))
        assert found["rs"][0] == (wanted < min(rivals))
        assert found["rm"][0] == pytest.approx(math.exp(-wanted) - math.exp(-min(rivals)), abs=1e-5)
    found = score_facts(lm, [replace(back, subject_prompts=(SubjectPrompt(prompt, "new delhi"),))])
    assert math.isnan(found["rs"][0])


def test_a_broken_model_prefers_nothing_to_a_former_object(lm):
    lm.anatomy.down_projections[0].weight.fill_(float("nan"))
    found = score_facts(lm, [replace(small_models.facts()[0], former="New Delhi")])
    assert found["es"][0] == 0 and math.isnan(found["em"][0])


def test_batching_and_padding_change_no_score(lm, monkeypatch):
    facts = small_models.facts()
    whole = score_facts(lm, facts)
    monkeypatch.setattr(scores_module, "TOKENS_PER_PASS", 1)
    single = score_facts(lm, facts)
    decisions = ["es", "ps", "ns", "ea", "pa", "na"]
    assert whole[decisions].equals(single[decisions])
    assert torch.allclose(
        torch.tensor(whole[["em", "pm", "nm"]].values), torch.tensor(single[["em", "pm", "nm"]].values)
    )


def test_facts_that_ask_about_no_other_relation_have_the_scores_that_they_had(lm):
    with_, without = score_facts(lm, asked_about_subjects()), score_facts(lm, small_models.facts())
    assert without[["rs", "rm", "ra"]].isna().all(axis=None)
    columns = [kind + suffix for kind in "epn" for suffix in "sma"]
    assert torch.allclose(torch.tensor(with_[columns].values), torch.tensor(without[columns].values))


def test_a_fact_without_neighbours_has_no_neighbourhood_score(lm):
    facts = [replace(small_models.facts()[0], neighbours=()), small_models.facts()[1]]
    found = score_facts(lm, facts)
    assert math.isnan(found["ns"][0]) and not math.isnan(found["ns"][1])


def test_harmonic_mean():
    assert harmonic_mean([0.5, 0.5, 0.5]) == pytest.approx(0.5)
    assert harmonic_mean([1, 0, 1]) == 0


def probes_of(lm):
    text = torch.randint(1, 300, (5, 12), generator=torch.Generator().manual_seed(0))
    return make_probes(lm, small_models.facts(), text)


def everywhere(lm, probes):
    """Activations at every layer and site."""
    return activations_on(lm, probes, range(lm.anatomy.n_layers))


def compared(now, before):
    """Table activations of two sets of activations."""
    return compare_activations([(now, before)], 3).activations


def test_activations_of_an_unchanged_model(lm):
    probes = probes_of(lm)
    found = compared(everywhere(lm, probes), everywhere(lm, probes))
    assert found["norm_ratio"].to_numpy() == pytest.approx(1)
    assert found["cosine_to_unedited"].to_numpy() == pytest.approx(1, abs=1e-6)
    assert set(zip(found["probe"], found["token"], found["n"], strict=True)) == {
        ("facts", "subject_last", 6),
        ("facts", "last", 6),
        ("text", "all", 20),
        ("text", "mean", 5),
    }
    residual = found[found["site"] == "residual"]
    assert residual["share_of_residual"].to_numpy() == pytest.approx(1)
    assert found[found["site"] == "mlp_key"]["share_of_residual"].isna().all()


def test_activations_see_a_scaled_matrix(lm):
    """Doubling a bias-free down-projection doubles its MLP's output and turns it nowhere."""
    probes = probes_of(lm)
    unedited = everywhere(lm, probes)
    module = lm.anatomy.down_projections[3].module
    module.weight.mul_(2)
    if getattr(module, "bias", None) is not None:
        module.bias.mul_(2)
    found = compared(everywhere(lm, probes), unedited).set_index(["layer", "site", "probe", "token"])
    doubled = found.xs((3, "mlp_output"), level=("layer", "site"))
    assert doubled["norm_ratio"].to_numpy() == pytest.approx(2, rel=1e-4)
    assert doubled["cosine_to_unedited"].to_numpy() == pytest.approx(1, abs=1e-5)
    below = found[found.index.get_level_values("layer") < 3]
    assert below["norm_ratio"].to_numpy() == pytest.approx(1, abs=1e-6)


def test_layers_in_groups_give_the_same_activations(lm, monkeypatch):
    probes = probes_of(lm)
    whole = everywhere(lm, probes)
    monkeypatch.setattr(activations, "MEMORY", 1)
    groups = list(activations.layer_groups(lm, probes))
    assert groups == [range(i, i + 1) for i in range(lm.anatomy.n_layers)]
    parts = {where: v for group in groups for where, v in activations_on(lm, probes, group).items()}
    assert set(parts) == set(whole) and all(torch.equal(parts[where], whole[where]) for where in whole)


def test_the_mean_over_a_window_leaves_its_first_token_out(lm):
    probes = probes_of(lm)
    states = lm.model(input_ids=probes.text, output_hidden_states=True).hidden_states
    found = everywhere(lm, probes)[Where("text", "mean", 1, "residual")]
    assert torch.allclose(found, states[2][:, 1:].mean(dim=1), atol=1e-5)


def test_activations_are_read_at_the_right_tokens(lm):
    fact = small_models.facts()[2]
    probes = make_probes(lm, [fact], torch.randint(1, 300, (1, 12)))
    found = everywhere(lm, probes)
    ids = lm.tokenizer(fact.question)["input_ids"]
    states = lm.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    assert torch.allclose(found[Where("facts", "last", 1, "residual")][0], states[2][0, -1], atol=1e-5)
    assert torch.allclose(
        found[Where("facts", "subject_last", 1, "residual")][0], states[2][0, probes.subject_last[0]], atol=1e-5
    )


def test_perplexity_equals_the_models_own_loss(lm):
    ids = torch.randint(1, 300, (20, 16), generator=torch.Generator().manual_seed(1))
    reading = read_text(lm, ids)
    rows = {row["metric"]: row for row in text_rows(reading, reading.loss)}
    assert rows["perplexity"]["n"] == 20 * 15
    expected = math.exp(lm.model(input_ids=ids, labels=ids).loss.item())
    assert rows["perplexity"]["value"] == pytest.approx(expected, rel=1e-5)
    assert (rows["log_perplexity_change"]["value"], rows["log_perplexity_change"]["stderr"]) == (0, 0)
    predicted = lm.model(input_ids=ids).logits[:, :-1].argmax(dim=-1)
    assert rows["accuracy"]["value"] == pytest.approx((predicted == ids[:, 1:]).double().mean().item())


def test_perplexity_of_a_broken_model_is_not_a_number(lm):
    lm.anatomy.down_projections[0].weight.fill_(float("nan"))
    reading = read_text(lm, torch.randint(1, 300, (2, 16)))
    assert math.isnan(text_rows(reading, reading.loss)[0]["value"])


def test_second_moments_are_means_of_outer_products(lm):
    ids = torch.randint(1, 300, (6, 16), generator=torch.Generator().manual_seed(2))
    found = gather_second_moments(lm, ids.split(4), [0, 2])
    keys = []
    for layer in (0, 2):
        module = lm.anatomy.down_projections[layer].module
        handle = module.register_forward_pre_hook(lambda _, inputs: keys.append(inputs[0].double().flatten(0, 1)))
        lm.model(input_ids=ids)
        handle.remove()
    for layer, k in zip((0, 2), keys, strict=True):
        assert found[layer].count == 96
        assert torch.allclose(found[layer].moment, k.T @ k / 96, atol=1e-6)


def test_second_moments_go_on_where_a_killed_job_left_them(tmp_path, monkeypatch):
    folder, text = small_models.save("gpt2", tmp_path / "model"), tmp_path / "text.txt"
    write_text(text, "\n\n".join(small_models.SENTENCES * 20))
    monkeypatch.setattr(statistics_command, "ROWS_PER_BATCH", 4)
    monkeypatch.setattr(statistics_command, "SECONDS_BETWEEN_COPIES", -1.0)

    def gather(out):
        numbers = ["--layers", "1", "2", "--tokens", "400", "--window", "10", "--seed", "0"]
        return main(["statistics", "--model", str(folder), "--text", str(text), *numbers, "--out", str(out)])

    assert gather(tmp_path / "whole.safetensors") == 0
    seen = []

    def killed(lm, batches, layers, sums, keep, of):
        def then_dies(sums):
            keep(sums)
            if sums.batches == 3:
                raise KeyboardInterrupt

        return gather_second_moments(lm, batches, layers, sums, then_dies, of)

    def goes_on(lm, batches, layers, sums, keep, of):
        seen.append((sums.batches, len(batches)))
        return gather_second_moments(lm, batches, layers, sums, keep, of)

    for gatherer, code in ((killed, 130), (goes_on, 0)):
        monkeypatch.setattr("normgrowth.editors.moments.gather_second_moments", gatherer)
        assert gather(tmp_path / "resumed.safetensors") == code
    assert seen == [(3, 7)]
    assert (tmp_path / "resumed.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_objects_that_share_a_text_share_a_row(lm):
    pairs = [("The home of Tirel is", place) for place in ("Oslo", "Rome", "New Delhi", "New York", "Lisbon")]
    pairs += [("The home of Tirel is New", "Delhi"), ("The home of Zé is", "Oslo")]
    batch = continuations(lm, pairs)
    found = batch.losses(batch.predictions(lm)).tolist()
    assert found == pytest.approx([plain.loss_of(lm, *pair)[0] for pair in pairs], rel=1e-4)
    texts = {tuple(lm.tokenizer(f"{prompt} {place}")["input_ids"][:-1]) for prompt, place in pairs}
    begun = {text for text in texts if any(other != text and other[: len(text)] == text for other in texts)}
    assert len(batch.ids) == len(texts - begun) < len(pairs)
