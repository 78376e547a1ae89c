"""General ability by the lm-evaluation-harness, an optional package: what needs it is skipped where it is missing."""

import json
import sys
from functools import partial
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest
import torch

from normgrowth import cli
from normgrowth.errors import AbilityError
from normgrowth.io.documents import write_json
from normgrowth.io.tables import read_provenance, read_table
from normgrowth.measure.harness import evaluate
from normgrowth.runs.state import restore
from normgrowth.sources.loading import load_model
from tests.support import small_models
from tests.support.every_editor import settings_of

ROOT = Path(__file__).parents[2]
TASKS = ROOT / "tests" / "ability"
ITEMS = json.loads((TASKS / "homes.json").read_text(encoding="utf-8"))


@pytest.fixture
def whole_harness(tmp_path, monkeypatch):
    """The harness, its data sets cached apart and the Hub out of reach; skips where it is not installed."""
    pytest.importorskip("lm_eval")
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(ROOT)


@pytest.fixture
def harness(whole_harness, monkeypatch):
    """The harness without its own tasks: there are thousands, and they take many seconds to find."""
    from lm_eval import tasks

    monkeypatch.setattr(tasks, "TaskManager", partial(tasks.TaskManager, include_defaults=False))


def log_likelihood(lm, context: str, continuation: str) -> float:
    """Of the continuation's tokens, in nats, by one forward pass without padding."""
    ids, start = lm.tokenizer(context + continuation)["input_ids"], len(lm.tokenizer(context)["input_ids"])
    predicted = lm.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
    return sum(predicted[i - 1, ids[i]].item() for i in range(start, len(ids)))


def accuracy(lm, items: list[dict]) -> float:
    """Share of items whose answer is the likeliest choice."""
    right = 0
    for item in items:
        scores = [log_likelihood(lm, item["question"], f" {choice}") for choice in item["choices"]]
        right += scores.index(max(scores)) == item["answer"]
    return right / len(items)


def homes(lm, **settings) -> pd.DataFrame:
    """What the harness finds on the local task, by metric."""
    settings = {"few_shot": 0, "limit": None, "task_folder": TASKS} | settings
    return evaluate(lm, ["small_homes"], **settings)[0].set_index("metric")


def test_accuracy_is_that_of_log_likelihoods(harness, lm):
    found = homes(lm)
    expected = accuracy(lm, ITEMS)
    assert 0 < expected < 1
    assert found.loc["acc,none", "value"] == pytest.approx(expected)
    assert found.loc["acc,none", "stderr"] == pytest.approx((expected * (1 - expected) / (len(ITEMS) - 1)) ** 0.5)
    assert set(found.index) == {"acc,none", "acc_norm,none"}
    assert set(found["n"]) == {len(ITEMS)}
    assert homes(lm).equals(found)


def test_a_limit_takes_the_first_items(harness, lm):
    found = homes(lm, limit=5)
    assert found.loc["acc,none", "value"] == pytest.approx(accuracy(lm, ITEMS[:5]))
    assert found.loc["acc,none", "n"] == 5


def test_weights_are_those_in_memory(harness):
    lm = small_models.language_model_of("gpt2")
    padding = lm.tokenizer.pad_token
    before = homes(lm).loc["acc,none", "value"]
    weight = lm.anatomy.down_projections[2].weight
    weight.copy_(3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    after = homes(lm).loc["acc,none", "value"]
    assert after == pytest.approx(accuracy(lm, ITEMS))
    assert after != before
    assert lm.tokenizer.pad_token == padding


def test_a_broken_model_has_no_accuracy(harness):
    lm = small_models.language_model_of("gpt2")
    lm.anatomy.down_projections[0].weight.fill_(float("nan"))
    found = homes(lm, limit=3)
    assert found["value"].isna().all() and found["stderr"].isna().all()


def test_versions_say_what_was_asked(harness):
    lm = small_models.language_model_of("gpt2")
    found = [evaluate(lm, ["small_homes"], 0, limit, TASKS)[1] for limit in (4, 4, 5)]
    assert found[0]["lm_eval"] == pytest.importorskip("lm_eval").__version__
    assert found[0]["tasks"]["small_homes"] | {"hash": ""} == {"version": 1.0, "few_shot": 0, "hash": ""}
    hashes = [versions["tasks"]["small_homes"]["hash"] for versions in found]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_group_counts_the_items_of_its_tasks(harness, tmp_path):
    text = (TASKS / "homes.yaml").read_text()
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name in ("small_a", "small_b"):
        (folder / f"{name}.yaml").write_text(text.replace("small_homes", name))
    group = (
        "group: small_group\ntask: [small_a, small_b]\naggregate_metric_list: [{metric: acc, weight_by_size: true}]\n"
    )
    (folder / "group.yaml").write_text(group)
    rows, versions = evaluate(small_models.language_model_of("gpt2"), ["small_group"], 0, 4, folder)
    found = rows[rows["metric"] == "acc,none"].set_index("task")
    assert found["n"].to_dict() == {"small_a": 4, "small_b": 4, "small_group": 8}
    assert found["value"].nunique() == 1
    assert set(versions["tasks"]) == {"small_a", "small_b"}


def test_an_unknown_task_is_named(whole_harness):
    lm = small_models.language_model_of("gpt2")
    with pytest.raises(AbilityError, match=r"^task 'helaswag' is unknown to lm_eval .*; did you mean 'hellaswag'\?"):
        evaluate(lm, ["lambada_openai", "small_homes", "helaswag"], 0, 4, TASKS)


def test_data_that_is_not_there_is_one_line(harness, tmp_path):
    text = (TASKS / "homes.yaml").read_text()
    (tmp_path / "lost.yaml").write_text(text.replace("homes.json", "lost.json"))
    with pytest.raises(AbilityError, match=r"^tasks small_homes cannot be evaluated by lm_eval: .*lost\.json"):
        homes(small_models.language_model_of("gpt2"), task_folder=tmp_path)


def test_without_the_harness_its_installation_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(AbilityError, match=r"^tasks need lm_eval, .*: install it by pip install -c envs/lock\.txt -e"):
        evaluate(small_models.language_model_of("gpt2"), ["small_homes"], 0, 4, TASKS)


@pytest.fixture
def files(tmp_path) -> Path:
    """A folder with a saved model, facts and contexts."""
    small_models.save("gpt2", tmp_path / "model")
    write_json(tmp_path / "facts.json", small_models.records())
    small_models.write_contexts(tmp_path / "contexts.json", tmp_path / "model", seed=1)
    return tmp_path


def run(command: str, files: Path, editor_name: str, **more: object) -> int:
    """The exit code of a command on the saved model."""
    given = {"study": "s", "model-name": "m", "editor-name": editor_name, "order": 0, "seed": 1, "device": "cpu"}
    given |= {"model": files / "model", "facts": files / "facts.json"} | more
    return cli.main([command, *(word for name, value in given.items() for word in (f"--{name}", str(value)))])


def test_the_command_writes_rows_of_downstream(harness, files):
    asked = {"step": 0, "tasks": "small_homes", "limit": 6, "task-folder": TASKS, "out": files / "ability.parquet"}
    assert run("evaluate", files, "unedited", **asked) == 0
    rows = read_table(files / "ability.parquet", "downstream")
    assert rows[["study", "editor", "step", "task", "n"]].drop_duplicates().values.tolist() == [
        ["s", "unedited", 0, "small_homes", 6]
    ]
    made_by = read_provenance(files / "ability.parquet")
    hashes = {name: sha256((TASKS / name).read_bytes()).hexdigest() for name in ("homes.json", "homes.yaml")}
    assert made_by["ability"] == {"tasks": ["small_homes"], "few_shot": 0, "limit": 6, "task_files": hashes}
    assert made_by["harness"]["tasks"]["small_homes"]["version"] == 1.0
    first = (files / "ability.parquet").read_bytes()
    assert run("evaluate", files, "unedited", **asked) == 0
    assert (files / "ability.parquet").read_bytes() == first


def test_the_command_evaluates_the_edited_model(harness, files):
    settings = settings_of("ft").model_copy(update={"learning_rate": 0.1, "steps": 20}).model_dump_json()
    edit = {"segment": 1, "first": 1, "last": 4, "contexts": files / "contexts.json", "settings": settings}
    assert run("edit", files, "ft", **edit, editor="ft", chain=files / "chain") == 0
    asked = {"step": 4, "chain": files / "chain", "segments": 1, "tasks": "small_homes", "task-folder": TASKS}
    assert run("evaluate", files, "ft", **asked, out=files / "ability.parquet") == 0
    lm = load_model(files / "model")
    unedited = accuracy(lm, ITEMS)
    restore(lm, files / "chain", 1, {})
    found = read_table(files / "ability.parquet", "downstream").set_index("metric").loc["acc,none"]
    assert found["value"] == pytest.approx(accuracy(lm, ITEMS))
    assert found["value"] != unedited
    assert found["step"] == 4


def test_the_command_says_in_one_line_what_is_missing(files, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert run("evaluate", files, "unedited", step=0, tasks="small_homes", out=files / "ability.parquet") == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("normgrowth evaluate: tasks need lm_eval, which cannot")
