"""The page about a first look: everything that was measured, the same on a terminal, as Markdown and as JSON."""

import json
import math
from dataclasses import replace

import pytest

from normgrowth.measure.causal_trace import average
from normgrowth.report.plain_page import COLUMNS, as_markdown, as_text
from normgrowth.report.vet_page import as_json, page
from tests.support.first_looks import LAYERS, effects, first_look, refused, trial

TRIALS = (trial("ft", layers=(2, 3, 4), change=1.234), refused("nas", "no room"), trial("rome", layers=(1, 3), ns=None))


def shown(vetted, presets=None):
    """The page on a terminal and as Markdown."""
    made = page(vetted, "small", "facts.json", presets or {})
    return as_text(made), as_markdown(made)


def rows_of(text, first):
    """Words of the lines of a terminal's table, from its heading on."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(first))
    return [line.split() for line in lines[start : lines.index("", start)]]


def test_the_page_begins_with_the_verdict_and_ends_with_what_to_set():
    text, markdown = shown(first_look(*TRIALS))
    assert text.splitlines()[0] == "A first look at small, with facts.json (seed 0)"
    assert text.splitlines()[2].startswith("Sequential results on this model will mean something")
    assert markdown.startswith("# A first look at small, with facts.json (seed 0)\n\n**Sequential results")
    titles = [line.removeprefix("## ") for line in markdown.splitlines() if line.startswith("## ")]
    assert titles == ["What it is", "What it knows", "Where the facts sit", "Which editors work", "What to set"]
    assert [line for line in text.splitlines() if line.isupper() and len(line) > 9] == [*map(str.upper, titles)]
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert text.split("WHAT TO SET\n\n")[1].startswith("* ")


def test_what_it_is_and_knows():
    text, _ = (" ".join(part.split()) for part in shown(first_look()))
    assert "GPT2LMHeadModel: 12 layers, width 768, keys of width 3,072, 124 million parameters, stored as" in text
    assert "stored as float32 and edited as float32; context 1,024 tokens; no norm stands behind its MLPs." in text
    assert "Asked for 400 facts, it says the true object of 120 (30.0%), greedily and in full." in text
    assert "Unedited scores of 40 facts, in percent: ES 20, PS 25, NS 78, S 29." in text
    assert "Perplexity on the text: 31.4 (9,920 tokens)." in text
    note = "Q4_1 (79%), Q8_0 (21%), turned back into float32"
    vetted = first_look()
    quantised = replace(vetted, model=replace(vetted.model, quantisation=note))
    assert f"Its weights: {note}." in " ".join(shown(quantised)[0].split())
    assert json.loads(as_json(quantised, "small", "facts.json", {}))["model"]["quantisation"] == note


def test_the_trace_has_a_bar_for_each_layer():
    text, markdown = shown(first_look(default_layer=7))
    head, *rows = rows_of(text, "layer")
    assert head == ["layer", "residual", "%", "MLPs", "%", "norm", "at", "subject", "MLP/norm"]
    assert len(rows) == LAYERS
    assert rows[3] == ["3", "90", "75", "#" * 15, "13", "23", "3.10", "peak"]
    assert rows[7] == ["7", "5", "15", "###", "17", "27", "7.10", "default"]
    assert "| 3 | 90 | 75 | ############### | 13 | 23 | 3.10 | peak |" in markdown
    assert "takes the true object's probability from 0.500 to 0.100" in " ".join(text.split())
    assert "0.300 ± 0.000 (standard error); 8 of the 8 facts have their own peak there" in " ".join(text.split())
    assert rows_of(shown(first_look())[0], "layer")[4][-2:] == ["peak,", "default"]


def test_the_first_layers_mlp_is_not_taken_for_the_place_of_a_fact():
    text, _ = shown(first_look(trace=average([effects(0)._replace(mlp=(0.3, 0.25, 0.1, 0.2, *[0.0] * 8))])))
    rows = rows_of(text, "layer")
    assert rows[1][-1] == "peak" and rows[4][-4:] == ["peak", "beyond", "0,", "default"]
    assert "Beyond it, the MLPs around layer 3 bring back the most, 0.200." in " ".join(text.split())
    assert "Beyond it" not in shown(first_look())[0]


def test_without_a_trace_the_norms_stand_alone():
    text, markdown = shown(first_look(trace=None))
    assert "There is no causal trace: the model says none of the facts." in text
    assert rows_of(text, "layer")[4] == ["3", "13", "23", "3.10", "default"]
    assert "| 3 | 13 | 23 | 3.10 | default |" in markdown


def test_every_editor_has_its_row():
    text, markdown = shown(first_look(*TRIALS))
    head, unedited, *rows = rows_of(text, "editor")
    assert head == ["editor", "layers", "ES", "PS", "NS", "S", "loss", "change", "%", "s/edit"]
    assert unedited == ["unedited", "25", "30", "80", "35"]
    assert rows[0] == ["ft", "2-4", "100", "80", "75", "84", "0.04", "123", "2.5"]
    assert rows[1] == ["nas", "3", "–", "–", "–", "–", "–", "–", "–", "20", "refused"]
    assert rows[2] == ["rome", "1,", "3", "100", "80", "–", "–", "0.04", "10", "2.5"]
    assert "| rome | 1, 3 | 100 | 80 | – | – | 0.04 | 10 | 2.5 |  |" in markdown
    assert "second moments are of 50,000 tokens of the text." in " ".join(text.split())
    presets = shown(first_look(*TRIALS), {"rome": "easyedit"})[0]
    assert "at default settings; rome by the preset of easyedit. Scores" in " ".join(presets.split())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_json_holds_what_is_shown_and_no_numbers_that_are_none(value):
    vetted = first_look(*TRIALS, noise=value)
    found = json.loads(as_json(vetted, "small", "facts.json", {"rome": "easyedit"}))
    assert found["noise"] is None
    assert found["verdict"]["level"] == "yes" and found["suggestions"][0].startswith("The model says 120 of 400")
    assert found["knowledge"] == {
        "asked": 400,
        "said": 120,
        "scored": 40,
        "scores": {"es": 0.2, "ps": 0.25, "ns": 0.78},
    }
    assert found["trace"]["peak"] == 3 and found["trace"]["total"] == pytest.approx(0.4)
    assert found["trace"]["mlp"][3] == {"value": pytest.approx(0.3), "error": pytest.approx(0.0)}
    assert found["trials"][0]["layers"] == [2, 3, 4] and found["trials"][1]["refusal"] == "no room"
    assert found["moment_text"] == {"read": 50_000, "written": 0}
    assert found["presets"] == {"rome": "easyedit"}
    assert json.loads(as_json(replace(vetted, trace=None), "small", "facts.json", {}))["trace"] is None
