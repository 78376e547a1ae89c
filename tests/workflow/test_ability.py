"""Tasks of the lm-evaluation-harness: evaluated where a study names them, and only then."""

from tests.workflow.test_graph import JUDGED, MODELS, RUNS, SEGMENTS, SETTINGS_NOTED

DOWNSTREAM = {"collect": 1, "draw": 4} | JUDGED
"""What reads the table that rows of tasks join."""

EVALUATED = MODELS + RUNS * SEGMENTS
"""The unedited models, and every checkpoint."""


def test_a_study_without_tasks_evaluates_none(tree):
    assert "evaluate" not in tree.plan("--forceall").jobs


def test_tasks_are_evaluated_at_every_checkpoint(tree):
    tree.change_config(ability={"tasks": ["hellaswag", "arc_easy"]})
    plan = tree.plan("--printshellcmds")
    assert plan.jobs == {"evaluate": EVALUATED} | DOWNSTREAM | SETTINGS_NOTED
    assert "--tasks hellaswag arc_easy --limit 100 " in " ".join(plan.output.split())


def test_fewer_evaluations_keep_the_end(tree):
    tree.change_config(ability={"tasks": ["hellaswag"], "every": 3})
    plan = tree.plan()
    assert plan.jobs["evaluate"] == MODELS + RUNS
    assert len(plan.about("on tasks after 100 edits")) == RUNS


def test_what_tasks_are_asked_reruns_them_alone(tree):
    folder = tree.folder.parent / "my tasks"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "own.yaml").write_text("task: own\n")
    ability = {"tasks": ["own"], "limit": None, "task_folder": "../my tasks"}
    tree.change_config(ability=ability)
    run = tree.snakemake("--cores", "2")
    assert run.returncode == 0, run.stdout
    written = (tree.folder / "results/demo/measurements/world-gpt2/ft/order-0/after-50/ability.parquet").read_text()
    assert "--tasks own --task-folder ../my tasks --out" in written and "--device cpu" in written
    assert "--limit" not in written and "--few-shot" not in written  # at their defaults
    assert tree.plan().jobs == {}

    (folder / "__pycache__" / "own.pyc").write_text("")
    assert tree.plan().jobs == {}
    (folder / "own.yaml").write_text("task: own\noutput_type: multiple_choice\n")
    assert tree.plan().jobs == {"evaluate": EVALUATED} | DOWNSTREAM
    tree.change_config(ability=ability | {"limit": 5})
    assert tree.plan().jobs == {"evaluate": EVALUATED} | DOWNSTREAM | SETTINGS_NOTED
