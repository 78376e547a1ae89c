"""Windows, generations and prompts longer than a model's context: refused before any work, with what to change."""

import json
import re
from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig

from normgrowth.errors import FactError, ModelError
from normgrowth.io.documents import write_json
from normgrowth.lm.context_length import LEAST, as_words, context_length, from_words
from normgrowth.lm.generate import go_on
from normgrowth.lm.prompt_lengths import require_scored
from normgrowth.study import presets
from normgrowth.study.checks import lengths_asked
from normgrowth.study.inputs import context_of
from normgrowth.study.study_files import load_study
from tests.study.test_study import STUDY, laid_over, message
from tests.support import small_models
from tests.support.commands import MEASURE, Workbench, as_json
from tests.support.every_editor import settings_of

CONTEXT = 64
LONG = "and " * 40  # with any question, more than the context


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"max_position_embeddings": 2048, "sliding_window": 512}, 2048),
        ({"n_positions": 1024, "n_ctx": 512}, 1024),
        ({"n_ctx": 512}, 512),
        ({"max_seq_len": 2048}, 2048),
        ({"text_config": {"max_position_embeddings": 131072}, "vision_config": {"n_positions": 5}}, 131072),
        ({"n_layer": 12}, None),
        ({"max_position_embeddings": -1}, None),
        ({"max_position_embeddings": True}, None),
        ({"max_position_embeddings": "64"}, None),
        ({"max_position_embeddings": None, "n_positions": 64}, 64),
    ],
)
def test_the_length_is_read_from_a_configuration(config, length):
    assert context_length(config) == length


@pytest.mark.parametrize(
    "kind", ["gpt2", "gptj", "gpt_neox", "gpt_neo", "opt", "llama", "mistral", "qwen2", "gemma3_text", "phi3"]
)
def test_the_length_is_that_of_the_library(kind, tmp_path):
    """Whatever a family calls it, in memory and as its file has it."""
    config = AutoConfig.for_model(kind)
    config.save_pretrained(tmp_path)
    expected = config.max_position_embeddings
    assert (
        context_length(vars(config)) == context_length(json.loads((tmp_path / "config.json").read_text())) == expected
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"measure": {"text_window": 65}},
            "measure.text_window is 65, and the context of world-gpt2 holds 64 tokens: set ",
        ),
        (
            {"measure": {"generation_tokens": 65}},
            "measure.generation_tokens is 65, and the context of world-gpt2 holds",
        ),
        (
            {"second_moments": {"window": 65}},
            "second_moments.window is 65, and the context of world-gpt2 holds 64 tokens",
        ),
        (
            {
                "interventions": {
                    "on": {"kind": "continued_pretraining", "text": "world", "training": {"window": 65}},
                    "off": {"kind": "full_fine_tuning", "facts": "world", "training": {"window": 65}},
                }
            },
            "interventions.on.training.window is 65, and the context of world-gpt2 holds 64 tokens: set it to 64",
        ),
        (
            {"model_sources": {"world-llama": {"training": {"context": 32}}}, "measure": {"text_window": 32}},
            "measure.generation_tokens is 40, and the context of world-llama holds 32 tokens: set it to 32 or less",
        ),
    ],
)
def test_a_study_that_asks_for_more_is_refused(changes, said):
    assert message(changes).startswith(said)
    assert ".off." not in message(changes)


def test_what_the_context_holds_and_what_nobody_reads_is_accepted():
    load_study(
        laid_over(STUDY, {"measure": {"text_window": 64, "generation_tokens": 64}, "second_moments": {"window": 64}})
    )
    load_study(laid_over(STUDY, {"measure": {"generation_facts": 0, "generation_tokens": 65}}))


def of_local(tmp_path, config: dict, **changes) -> dict:
    (tmp_path / "model").mkdir(exist_ok=True)
    (tmp_path / "model/config.json").write_text(json.dumps({"n_layer": 6} | config))
    local = {"kind": "local", "path": str(tmp_path / "model")}
    return {"models": ["mine"], "model_sources": {"mine": local}, **changes}


def test_a_local_model_is_asked(tmp_path):
    window = {"second_moments": {"window": 33}, "measure": {"text_window": 16, "generation_tokens": 8}}
    assert message(of_local(tmp_path, {"n_positions": 32}, **window)).startswith(
        "second_moments.window is 33, and the context of mine holds 32 tokens"
    )
    load_study(laid_over(STUDY, of_local(tmp_path, {"n_positions": 32}, **window, editors=["ft"])))  # gathers none
    load_study(laid_over(STUDY, of_local(tmp_path, {}, **window)))  # says nothing of its context
    assert message(of_local(tmp_path, {"n_positions": LEAST - 1})) == (
        "the context of mine holds 15 tokens: editing takes a model of 16 or more"
    )


def test_a_model_of_the_hub_is_asked_in_the_cache_or_known_from_the_presets(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    hub = {"kind": "hub", "repo": "openai-community/gpt2-xl", "revision": "0" * 40}
    changes = {"models": ["gpt2-xl"], "model_sources": {"gpt2-xl": hub}, "measure": {"text_window": 1025}}
    said = "measure.text_window is 1025, and the context of gpt2-xl holds {} tokens: set it to {} or less"
    assert message(changes) == said.format(1024, 1024)
    snapshot = tmp_path / "models--openai-community--gpt2-xl/snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text('{"n_layer": 48, "n_positions": 512}')
    assert message(changes) == said.format(512, 512)
    unknown = {"m": hub | {"repo": "owner/m", "layers": 4}}
    study = load_study(laid_over(STUDY, changes | {"models": ["m"], "model_sources": unknown}))
    assert context_of(study, "m") is None
    asked = lengths_asked(study, "m")
    assert asked["measure.text_window"] == 1025 and from_words(as_words(asked)) == asked


def test_every_published_model_has_its_context():
    assert {model: presets.context(model) for model in presets.models()} == {
        "gpt2-xl": 1024, "gpt-j-6b": 2048, "llama-2-7b": 4096, "llama-3-8b": 8192,
        "smollm2-135m": 8192, "gemma-3-270m": 32768,
    }  # fmt: skip


@pytest.fixture(params=small_models.ARCHITECTURES)
def bench(request, tmp_path) -> Workbench:
    return Workbench(tmp_path, request.param, CONTEXT)


def refused(capsys, code: int) -> str:
    """The one line that a command ended with."""
    assert code == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("normgrowth ")]
    assert len(lines) == 1
    return lines[0]


WINDOWS = {
    "statistics": ({"window": 65}, "second_moments.window is 65"),
    "measure": (
        {"settings": MEASURE.model_copy(update={"text_window": 65}).model_dump_json()},
        "measure.text_window is 65",
    ),
    "extract": (
        {"settings": MEASURE.model_copy(update={"text_window": 65}).model_dump_json()},
        "measure.text_window is 65",
    ),
    "intervene": ({"settings": '{"steps": 2, "window": 65}'}, "interventions.e.training.window is 65"),
}


@pytest.mark.parametrize("command", WINDOWS)
def test_commands_refuse_windows_before_their_work(bench, capsys, command):
    options, said = WINDOWS[command]
    line = refused(capsys, bench.run(command, **options))
    assert f"{said}, and the context of the model holds 64 tokens: set it to 64 or less" in line
    assert not bench.out.exists()


def test_a_generation_that_leaves_no_room_for_a_prompt_is_refused(bench, capsys):
    settings = MEASURE.model_copy(update={"generation_tokens": 65})
    line = refused(capsys, bench.run("measure", settings=settings.model_dump_json()))
    assert "measure.generation_tokens is 65, and the context of the model holds 64 tokens" in line
    settings = MEASURE.model_copy(update={"generation_tokens": 64})
    line = refused(capsys, bench.run("measure", settings=settings.model_dump_json()))
    assert re.search(
        r"case 1\d: '.* is' takes \d+ tokens, 64 that are to follow among them, and the model's context", line
    )
    off = MEASURE.model_copy(update={"generation_tokens": 65, "generation_facts": 0})
    assert bench.run("measure", settings=off.model_dump_json()) == 0


PLACES = ("prompt", "paraphrase_prompts", "neighborhood_prompts", "target_new", "generation_prompts")


def lengthen(record: dict, place: str) -> None:
    if place == "prompt":
        record["requested_rewrite"]["prompt"] = LONG + record["requested_rewrite"]["prompt"]
    elif place == "target_new":
        record["requested_rewrite"]["target_new"]["str"] = LONG.strip()
    else:
        record[place][0] = LONG + record[place][0]


@pytest.mark.parametrize("place", PLACES[:4])
@pytest.mark.parametrize("command", ["edit", "single-edits", "check-editable", "hypernetwork", "measure"])
def test_facts_that_do_not_fit_are_refused_by_their_case(bench, capsys, monkeypatch, command, place):
    """Before anything is edited, and though the fact is the run's last."""
    for record in bench.records:
        lengthen(record, place)
    options = {}
    if command == "hypernetwork":
        options = {"editor": "mend", "settings": as_json(settings_of("mend"), training_steps=1, validation_share=0.5)}
    if command == "check-editable":
        options = {"statistics": bench.statistics()}
        capsys.readouterr()
    line = refused(capsys, bench.run(command, **options))
    assert re.search(r": case 1\d: '.*' takes \d+ tokens, and the model's context holds 64: take the record out", line)
    assert not (bench.out / "chain").exists()


def test_a_run_looks_at_all_its_facts_before_its_first_edit(bench, capsys, monkeypatch):
    lengthen(bench.records[-1], "paraphrase_prompts")
    long = bench.records[-1]["case_id"]
    orders = [number for number in range(30) if place_in_order(bench, number, long) >= 4]
    bench.run("edit", order=orders[0], last=2, of=3)
    assert "case" not in capsys.readouterr().err  # the run does not come to it
    line = refused(capsys, bench.run("edit", order=orders[0], last=2, of=6, chain=bench.out / "other"))
    assert f"case {long}: " in line and not (bench.out / "other").exists()


def place_in_order(bench: Workbench, order: int, case_id: int) -> int:
    from normgrowth.facts.orders import edit_order
    from normgrowth.facts.records import read_facts

    write_json(bench.facts, bench.records)
    return [fact.case_id for fact in edit_order(read_facts(bench.facts), 0, order)].index(case_id)


def test_templates_count_where_a_search_puts_them_before_the_prompt(bench, capsys):
    templates = {"uniform": ["{}", f"{LONG}. {{}}"], "grouped": ["{}"]}
    small_models.write_contexts(bench.contexts, bench.model, templates=templates)
    assert bench.run("edit") == 0  # fine-tuning reads none
    capsys.readouterr()
    settings = as_json(settings_of("r_rome"))
    options = {"editor": "r_rome", "settings": settings, "statistics": bench.statistics(), "chain": bench.out / "other"}
    capsys.readouterr()
    assert re.search(r"case 1\d: 'and and .*' takes \d+ tokens", refused(capsys, bench.run("edit", **options)))


@pytest.mark.parametrize("place", ["generation_prompts", "prompt"])
def test_prompts_that_leave_no_room_for_a_generation_are_refused(bench, capsys, place):
    for record in bench.records:
        record["generation_prompts"] = ["It was. " * 6]
    settings = MEASURE.model_copy(update={"generation_tokens": 50})
    line = refused(capsys, bench.run("measure", settings=settings.model_dump_json()))
    assert "50 that are to follow among them" in line


def test_what_an_edit_before_wrote_is_looked_at_too():
    lm, fact = small_models.language_model_of("gpt2"), small_models.facts()[0]
    require_scored(lm, replace(fact, former="Rome"))
    with pytest.raises(FactError, match=r"case 10: '.* and and .*' takes \d+ tokens, and the model's context holds 64"):
        require_scored(lm, replace(fact, former="and " * 70))


def test_pairs_to_train_on_are_looked_at_first(bench, capsys):
    lengthen(bench.records[2], "prompt")
    line = refused(capsys, bench.run("intervene", kind="full_fine_tuning", text=None, facts=bench.facts))
    assert "case 12: " in line


def test_contexts_take_a_model_that_reads_them(tmp_path, capsys):
    line = refused(capsys, Workbench(tmp_path, "gpt2", 12).run("contexts"))
    assert line.endswith("the context of the model holds 12 tokens: editing takes a model of 16 or more")


@pytest.mark.parametrize(
    "command", ["contexts", "statistics", "edit", "single-edits", "measure", "extract", "intervene"]
)
def test_what_just_fits_runs(tmp_path, command):
    """Windows as long as the context; the prompts of the small facts are shorter."""
    bench = Workbench(tmp_path, "gpt2", CONTEXT)
    wide = MEASURE.model_copy(update={"text_window": 64, "generation_tokens": 40})
    options = {
        "statistics": {"window": 64},
        "measure": {"settings": wide.model_dump_json()},
        "extract": {"settings": wide.model_dump_json()},
        "intervene": {"settings": '{"steps": 1, "batch": 2, "window": 64}'},
    }
    assert bench.run(command, **options.get(command, {})) == 0


def test_a_library_call_names_both_lengths():
    lm = small_models.language_model_of("gpt2", context=32)
    with pytest.raises(ModelError, match="a text of 33 tokens does not fit the model's context of 32"):
        lm.hidden(torch.ones(1, 33, dtype=torch.long), torch.ones(1, 33, dtype=torch.long))
    assert len(go_on(lm, [(1,) * 20], 13)[0]) == 13  # the last is not read
    with pytest.raises(ModelError, match="a text of 33 tokens does not fit"):
        go_on(lm, [(1,) * 20], 14)
    assert go_on(lm, [(1,), (2,)], 0) == [[], []] and go_on(lm, [], 5) == []
