"""Small files of many jobs become one table."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from normgrowth import cli
from normgrowth.errors import ArtefactError
from normgrowth.io.columns import CHECKPOINT_TABLES
from normgrowth.io.digests import safetensors_header, stated_digest
from normgrowth.io.schemas import SCHEMAS, segment_schema
from normgrowth.io.tables import read_provenance, read_table, write_table
from normgrowth.io.tensors import write_tensors
from normgrowth.layout import SEGMENT_TABLES, UNEDITED
from normgrowth.runs.collect import StudyFiles, collect

RUNS, ORDERS, SEGMENTS, CHECKPOINTS = [("m", "ft"), ("m", "memit")], 2, 2, [0, 2, 4]
CHAINS = [(model, editor, order) for model, editor in RUNS for order in range(ORDERS)]
TEXT_OF = {"moment": "immediate"}


def rows(name: str, steps: list[int], editor: str, order: int, **values: object) -> pd.DataFrame:
    """Rows of a table with numbers that follow from the step."""
    frame = pd.DataFrame({"step": steps}).assign(study="s", model="m", editor=editor, order=order)
    for field in SCHEMAS[name]:
        if field.name not in frame:
            text = str(field.type) == "string"
            number = [[float(step)] for step in steps] if str(field.type).startswith("list") else frame["step"]
            frame[field.name] = TEXT_OF.get(field.name, field.name) if text else number
    return frame.assign(**values)


@pytest.fixture
def results(made, tmp_path):
    """What the jobs leave behind, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "results"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the jobs of two editors, two orders, two segments of two edits leave behind."""
    tmp_path = tmp_path_factory.mktemp("made")
    for order in range(ORDERS):
        at = tmp_path / "measurements" / "m" / UNEDITED / f"order-{order}" / "after-0"
        for name in CHECKPOINT_TABLES:
            write_table(at / f"{name}.parquet", rows(name, [0], UNEDITED, order, **_unedited(name)), name)
        for _, editor in RUNS:
            for segment, steps in ((1, [1, 2]), (2, [3, 4])):
                folder = tmp_path / "runs" / "m" / editor / f"order-{order}" / f"segment-{segment}"
                measured = [0, *steps] if segment == 1 else steps
                write_table(folder / "norms.parquet", rows("norms", measured, editor, order), "norms")
                edits = rows("edits", steps, editor, order).drop(columns="edit_seconds")
                write_table(folder / "edits.parquet", edits, segment_schema("edits"), {"seed": 7})
                timing = rows("timing", steps, editor, order, edit_seconds=[s / 2 for s in steps])
                write_table(folder / "timing.parquet", timing, "timing")
                write_table(folder / "scores.parquet", rows("scores", steps, editor, order), "scores")
                write_table(folder / "speed.parquet", rows("speed", steps[-1:], editor, order), "speed")
            for step in CHECKPOINTS[1:]:
                at = tmp_path / "measurements" / "m" / editor / f"order-{order}" / f"after-{step}"
                for name in CHECKPOINT_TABLES:
                    values = {"moment": "retention"} if name == "scores" else {}
                    write_table(at / f"{name}.parquet", rows(name, [step], editor, order, **values), name)
    return tmp_path


def _unedited(name: str) -> dict:
    return {"moment": UNEDITED, "edited_at": None} if name == "scores" else {}


def collected(results, table: str) -> pd.DataFrame:
    out = results / "tables" / f"{table}.parquet"
    numbers = ["--segments", "2", "--checkpoints", "0", "2", "4"]
    chains = ["/".join(map(str, chain)) for chain in CHAINS]
    command = ["collect", "--table", table, "--study", "s", "--results", str(results), "--chains", *chains]
    assert cli.main([*command, *numbers, "--out", str(out)]) == 0
    return read_table(out, table)


@pytest.mark.parametrize("table", sorted({*SEGMENT_TABLES, *CHECKPOINT_TABLES}))
def test_every_table_has_its_columns_and_all_runs(results, table):
    frame = collected(results, table)
    assert list(frame.columns) == SCHEMAS[table].names
    assert set(zip(frame["editor"], frame["order"], strict=True)) == {("ft", 0), ("ft", 1), ("memit", 0), ("memit", 1)}
    for _, run in frame.groupby(["editor", "order"]):
        assert run["step"].is_monotonic_increasing


@pytest.mark.parametrize("table", [table for table in CHECKPOINT_TABLES if table != "scores"])
def test_every_curve_begins_with_the_unedited_model(results, table):
    frame = collected(results, table)
    for _, run in frame.groupby(["editor", "order"]):
        assert run["step"].tolist() == CHECKPOINTS
    assert UNEDITED not in set(frame["editor"])


def test_rows_of_tasks_join_downstream(results):
    for editor, step in ((UNEDITED, 0), ("ft", 4), ("memit", 4)):
        for order in range(ORDERS):
            at = results / "measurements" / "m" / editor / f"order-{order}" / f"after-{step}" / "ability.parquet"
            frame = rows("downstream", [step], editor, order, task="hellaswag")
            write_table(at, frame, "downstream", {"harness": "its version", "device": "cpu"})
    frame, sources = collect("downstream", StudyFiles(results, "s", CHAINS, SEGMENTS, CHECKPOINTS, evaluated=[0, 4]))
    for _, run in frame.groupby(["editor", "order"]):
        assert list(zip(run["step"], run["task"], strict=True)) == [
            (0, "task"), (0, "hellaswag"), (2, "task"), (4, "task"), (4, "hellaswag")
        ]  # fmt: skip
    assert sources["m/ft"]["harness"] == "its version"
    others, _ = collect("activations", StudyFiles(results, "s", CHAINS, SEGMENTS, CHECKPOINTS, evaluated=[0, 4]))
    assert set(others["step"]) == {0, 2, 4}


def test_norms_begin_at_step_zero(results):
    for _, run in collected(results, "norms").groupby(["editor", "order"]):
        assert run["step"].tolist() == [0, 1, 2, 3, 4]


def test_times_join_the_edits_they_belong_to(results):
    frame = collected(results, "edits")
    assert (frame["edit_seconds"] == frame["step"] / 2).all()


def test_scores_at_the_last_checkpoint_are_final(results):
    frame = collected(results, "scores")
    moments = frame[(frame["editor"] == "ft") & (frame["order"] == 0)].groupby("moment")["step"].apply(list).to_dict()
    assert moments == {UNEDITED: [0], "immediate": [1, 2, 3, 4], "retention": [2], "final": [4]}
    assert frame.loc[frame["moment"] == UNEDITED, "edited_at"].isna().all()
    assert frame.loc[frame["moment"] == "final", "edited_at"].eq(4).all()


def test_equal_inputs_give_equal_bytes_and_say_where_they_come_from(results):
    collected(results, "edits")
    first = (results / "tables" / "edits.parquet").read_bytes()
    collected(results, "edits")
    assert (results / "tables" / "edits.parquet").read_bytes() == first
    assert read_provenance(results / "tables" / "edits.parquet")["runs"]["m/ft"]["seed"] == 7


def test_a_missing_file_is_named(results, capsys):
    lost = results / "runs" / "m" / "ft" / "order-1" / "segment-2" / "edits.parquet"
    lost.unlink()
    command = ["collect", "--table", "edits", "--study", "s", "--results", str(results), "--chains", "m/ft/0", "m/ft/1"]
    numbers = ["--segments", "2", "--checkpoints", "0", "2", "4"]
    assert cli.main([*command, *numbers, "--out", str(results / "x.parquet")]) == 1
    assert capsys.readouterr().err == f"normgrowth collect: {lost} does not exist; the workflow makes it\n"


def test_collected_frames_need_no_file_to_be_written(results):
    frame, sources = collect("speed", StudyFiles(results, "s", CHAINS, SEGMENTS, CHECKPOINTS))
    assert frame["step"].tolist() == [2, 4] * 4
    assert set(sources) == {"m/ft", "m/memit"}


def refused(results, table: str) -> str:
    with pytest.raises(ArtefactError) as caught:
        collect(table, StudyFiles(results, "s", CHAINS, SEGMENTS, CHECKPOINTS))
    return str(caught.value)


@pytest.mark.parametrize(
    ("one", "other", "table", "said"),
    [
        ("runs/m/ft/order-0/segment-1/norms", "runs/m/ft/order-0/segment-2/norms", "norms",
         "holds steps 3 to 4, where steps 0 to 2 belongs; delete it and run the workflow again"),
        ("runs/m/ft/order-0/segment-1/edits", "runs/m/memit/order-0/segment-1/edits", "edits",
         "holds editor 'memit', where editor 'ft' belongs; delete it and run the workflow again"),
        ("runs/m/ft/order-0/segment-1/timing", "runs/m/ft/order-1/segment-1/timing", "edits",
         "holds order 1, where order 0 belongs; delete it and run the workflow again"),
        ("measurements/m/ft/order-0/after-2/cka", "measurements/m/unedited/order-0/after-0/cka", "cka",
         "holds editor 'ft', where editor 'unedited' belongs; delete it and run the workflow again"),
        ("measurements/m/ft/order-0/after-2/spectra", "measurements/m/ft/order-0/after-4/spectra", "spectra",
         "holds step 4, where step 2 belongs; delete it and run the workflow again"),
    ],
)  # fmt: skip
def test_a_file_in_another_ones_place_is_refused(results, one, other, table, said):
    one, other = (results / f"{path}.parquet" for path in (one, other))
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    message = refused(results, table)
    assert message.endswith(said) and (str(one) in message or str(other) in message)


def test_rows_of_another_study_or_of_none_are_refused(results):
    path = results / "runs/m/ft/order-1/segment-2/norms.parquet"
    frame = read_table(path, "norms")
    write_table(path, frame.assign(study="t"), "norms")
    assert (
        refused(results, "norms")
        == f"{path} holds study 't', where study 's' belongs; delete it and run the workflow again"
    )
    write_table(path, frame[:0], "norms")
    assert "does not say its study, model, editor, order: another version" in refused(results, "norms")
    write_table(path, frame[:0], "norms", {"study": "s", "model": "m", "editor": "ft", "order": 1})
    collect("norms", StudyFiles(results, "s", CHAINS, SEGMENTS, CHECKPOINTS))


def test_files_of_one_run_are_made_of_the_same_inputs(results):
    path = results / "runs/m/ft/order-1/segment-2/edits.parquet"
    write_table(path, read_table(path, "edits"), segment_schema("edits"), {"seed": 8})
    message = refused(results, "edits")
    assert message.startswith(f"{path} holds seed 8, where seed 7 belongs; that is what ")
    assert message.endswith("segment-1/edits.parquet was made with; delete both and run the workflow again")


def test_files_of_one_run_are_of_the_same_stream(results):
    """Files that say nothing of a stream are of runs without one."""
    path = results / "runs/m/ft/order-1/segment-2/norms.parquet"
    write_table(path, read_table(path, "norms"), "norms", {"stream": {"repeats": 0.1}})
    assert refused(results, "norms").startswith(f"{path} holds stream {{'repeats': 0.1}}, where stream None belongs; ")


def test_times_of_other_edits_are_refused(results):
    path = results / "runs/m/ft/order-1/segment-2/timing.parquet"
    write_table(path, read_table(path, "timing").assign(case_id=99), "timing")
    assert refused(results, "edits").startswith(f"{path} holds times of other edits than ")


def test_files_of_all_orders_of_a_run_are_made_of_the_same_inputs(results):
    for path in (results / "runs/m/ft/order-1").glob("*/edits.parquet"):
        write_table(path, read_table(path, "edits"), segment_schema("edits"), {"seed": 8})
    message = refused(results, "edits")
    assert "order-1/segment-1/edits.parquet holds seed 8, where seed 7 belongs" in message
    assert "order-0/segment-1/edits.parquet was made with" in message


def test_a_checkpoint_of_another_state_is_refused(results):
    folder = results / "runs/m/ft/order-0/segment-1"
    write_tensors(folder / "state.safetensors", {"a": torch.ones(2)}, {}, "state")
    path = results / "measurements/m/ft/order-0/after-2/cka.parquet"
    assert refused(results, "cka").startswith(f"{path} does not say its state")
    write_table(path, read_table(path, "cka"), "cka", {"seed": 7, "state": "f" * 64})
    assert refused(results, "cka").startswith(f"{path} holds state '{'f' * 64}', where state '")
    digest = stated_digest(folder / "state.safetensors", safetensors_header)
    write_table(path, read_table(path, "cka"), "cka", {"seed": 7, "state": digest})
    collect("cka", StudyFiles(results, "s", CHAINS, SEGMENTS, CHECKPOINTS))
