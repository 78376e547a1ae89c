"""How far runs have come, from what they have left."""

import shutil

import pandas as pd
import pytest

from normgrowth.cli import main
from normgrowth.io.tables import write_table
from normgrowth.runs.status import chains, line_of
from normgrowth.study.plan import Plan
from normgrowth.study.study_files import read_study

SMALL = ["models=[world-gpt2]", "segment=10", "editors=[ft, emmet]", "orders=1", "left_out={}"]
SECONDS = {"load_seconds": 1.0, "edit_seconds": 3.0, "telemetry_seconds": 0.5, "score_seconds": 0.5}


@pytest.fixture
def plan():
    return Plan(read_study(None, [*SMALL]))


def leave_segment(folder, editor, number):
    place = folder / f"results/demo/runs/world-gpt2/{editor}/order-0/segment-{number}"
    place.mkdir(parents=True)
    (place / "state.safetensors").touch()
    names = {"study": "demo", "model": "world-gpt2", "editor": editor, "order": 0}
    row = names | {"step": 10 * number, "segment": number, "edits": 10, "peak_memory_mb": 1.0} | SECONDS
    write_table(place / "speed.parquet", pd.DataFrame([row]), "speed")


def test_each_run_has_a_line(plan, tmp_path):
    leave_segment(tmp_path, "ft", 1)
    log = tmp_path / "logs/demo/edit/world-gpt2/ft/order-0/segment-2.log"
    log.parent.mkdir(parents=True)
    line = "ft on world-gpt2, order 0, segment 2"
    log.write_text(f"{line}: 0/10\n{line}: 4/10, 2/s, 0:03 left\n")
    one, two = chains(plan, tmp_path)
    assert (one.done, one.total, one.per_second) == (plan.study.segment + 4, plan.study.edits, plan.study.segment / 5)
    left = (one.total - one.done) / one.per_second
    assert one.seconds_left == pytest.approx(left)
    assert line_of(one).startswith(f"world-gpt2 ft order 0: {one.done}/{one.total} edits, 2/s, 0:{round(left):02} left")
    assert line_of(two) == f"world-gpt2 emmet order 0: 0/{two.total} edits, waiting"


def test_a_finished_run_says_so(plan, tmp_path, monkeypatch, capsys):
    for editor in ("ft", "emmet"):
        for number in range(1, plan.segments + 1):
            leave_segment(tmp_path, editor, number)
    assert all(line_of(status).endswith("edits, done") for status in chains(plan, tmp_path))
    shutil.copy("config.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["status", "--config", *SMALL, "--watch", "60"]) == 0  # and does not wait: all is done
    assert f"demo: {2 * plan.study.edits} of {2 * plan.study.edits} edits" in capsys.readouterr().out
