"""Everything measured at one checkpoint of a run."""

from pathlib import Path

import pandas as pd

from normgrowth.artefacts.schemas import UNEDITED
from normgrowth.assets.text import windows
from normgrowth.facts.orders import subset
from normgrowth.facts.records import Fact
from normgrowth.language_model import LanguageModel
from normgrowth.measure.activations import activations_on, compare, make_probes
from normgrowth.measure.perplexity import perplexity
from normgrowth.measure.scores import score_facts
from normgrowth.state import restore


def measure_checkpoint(
    lm: LanguageModel,
    facts: list[Fact],
    order: list[Fact],
    step: int,
    *,
    chain: Path | None,
    segments: int,
    expected: dict,
    text: Path,
    heldout: Path,
    seed: int,
    settings: dict,
) -> dict[str, pd.DataFrame]:
    """Tables `scores`, `activations` and `downstream` (without names of the run) after `step` edits.

    Args:
        lm: the unedited model; it is brought to the checkpoint in place.
        facts: all facts, from which probe prompts are drawn; the same for every run.
        order: the edit order. The first `step` of it are scored, at most `retention_facts` of them; for the unedited
            model, the first `baseline_facts`.
        expected: metadata that the run's states must carry.
        settings: `fact_probes`, `text_probes`, `text_window`, `retention_facts`, `baseline_facts`,
            `perplexity_tokens`.
    """
    probe_text = windows(
        text, lm.tokenizer, settings["text_window"], settings["text_probes"], seed, "activation probes"
    )
    probe_facts = subset(facts, settings["fact_probes"], seed, "activation probes")
    probes = make_probes(lm, probe_facts, probe_text)
    unedited = now = activations_on(lm, probes)
    if step > 0:
        restore(lm, chain, segments, expected)
        now = activations_on(lm, probes)

    edited_at = {fact.case_id: number for number, fact in enumerate(order, start=1)}
    if step > 0:
        scores = score_facts(lm, subset(order[:step], settings["retention_facts"], seed, "retention"))
        scores["edited_at"] = scores["case_id"].map(edited_at)
        scores["moment"] = "retention"
    else:
        scores = score_facts(lm, order[: settings["baseline_facts"]])
        scores["edited_at"] = None
        scores["moment"] = UNEDITED

    length = settings["text_window"]
    heldout_windows = windows(
        heldout, lm.tokenizer, length, -(-settings["perplexity_tokens"] // length), seed, "perplexity"
    )
    value, count = perplexity(lm, heldout_windows)
    downstream = {"task": "heldout_text", "metric": "perplexity", "value": value, "stderr": None, "n": count}
    return {"scores": scores, "activations": compare(now, unedited), "downstream": pd.DataFrame([downstream])}
