"""The benchmarks run, on a model so small that what they say of speed means nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.checks import share_of_checks
from benchmarks.editors import WRITERS, every_editor
from benchmarks.growth import growth
from benchmarks.large import projected
from benchmarks.precisions import precisions
from benchmarks.ratios import ratios, telemetry_share
from benchmarks.subjects import random_model

SMALL = {"n_embd": 32, "n_layer": 3, "n_head": 2, "vocab_size": 1300}


@pytest.mark.slow
def test_a_large_run_is_projected_from_a_batch():
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 6, "vocab_size": 1300}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    for precision in ("float32", "bfloat16"):
        table = projected("llama-3-8b", "cpu", precision, batch=3, steps=2, **sizes, **heads)
        assert "| memit | " in table and "| alphaedit | " in table


@pytest.mark.slow
def test_the_library_is_timed_beside_the_plain_implementation():
    table = ratios(random_model("gpt2-7m", count=160, **SMALL), facts=5, repeats=1)
    assert table.count("| scoring") == table.count("| statistics") == 2 and table.count("\n") == 8


@pytest.mark.slow
def test_every_editor_is_timed():
    table = every_editor(random_model("gpt2-7m", count=32, **SMALL), ["encore", "ft", "mend", "rome"])
    assert table.count("| 1 | ") == 4 and table.count("| 100 | ") == 3
    assert {"ft", "memit", "pmet"} < set(WRITERS)


@pytest.mark.slow
def test_searches_are_timed_in_two_precisions():
    table = precisions(random_model("gpt2-7m", count=32, **SMALL), repeats=1)
    assert table.count("\n") == 4 and table.count("%") == 2


@pytest.mark.slow
def test_growth_has_exponents():
    table = growth(random_model("gpt2-7m", count=32, **SMALL), edits=10, widths=(32, 64))
    assert table.count("\n") == 7


@pytest.mark.slow
def test_norms_are_timed():
    assert "%" in telemetry_share(random_model("gpt2-7m", count=32, **SMALL), edits=2)


def test_a_job_reads_its_inputs_and_what_they_stand_for(tmp_path):
    chain, model = tmp_path / "results/s/runs", tmp_path / "resources/models/m"
    for file in (chain / "segment-1/state.safetensors", chain / "segment-2/state.safetensors", model / "config.json"):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x" * 100)
    logs = tmp_path / "logs/s"
    logs.mkdir(parents=True)
    read = {"results/s/runs/segment-2/state.safetensors": 0.1, "resources/models/m/manifest.json": 0.1}
    (logs / "edit.benchmark.jsonl").write_text(json.dumps({"s": 7.0, "input_size_mb": read}) + "\n")
    hashing, seconds, jobs = share_of_checks(tmp_path / "results/s")
    assert 0 < hashing < seconds == 7 and jobs == 1


def test_the_command_says_what_it_takes():
    command = [sys.executable, Path(__file__).parents[1] / "benchmarks" / "speed.py", "--help"]
    assert "--assets" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
