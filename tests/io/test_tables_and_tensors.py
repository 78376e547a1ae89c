"""Files appear whole or not at all, equal content is equal bytes, and damage is named."""

import errno
import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from normgrowth import __version__, cli
from normgrowth.errors import ArtefactError
from normgrowth.io.atomic import whole_or_not_at_all
from normgrowth.io.columns import IDENTITY
from normgrowth.io.documents import write_json, write_text
from normgrowth.io.provenance import LIBRARIES, UNKNOWN, file_sha256, provenance
from normgrowth.io.schemas import SCHEMAS, segment_schema
from normgrowth.io.tables import read_provenance, read_table, write_table
from normgrowth.io.tensors import read_tensors, write_tensors


def one_row(name):
    values = {pa.string(): "x", pa.int32(): 1, pa.int64(): 1, pa.float32(): 0.5, pa.float64(): 0.5}
    values |= {pa.list_(pa.float32()): [0.5, 1.5], pa.list_(pa.float64()): [0.5], pa.bool_(): True}
    return pd.DataFrame([{field.name: values[field.type] for field in SCHEMAS[name]}])


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_table_begins_with_the_identity_and_survives_the_round_trip(tmp_path, name):
    assert [(f.name, str(f.type)) for f in SCHEMAS[name]][: len(IDENTITY)] == IDENTITY
    frame = one_row(name)
    write_table(tmp_path / "t.parquet", frame, name, {"seed": 1})
    found = read_table(tmp_path / "t.parquet", name)
    for column in found.columns[[isinstance(value, np.ndarray) for value in found.iloc[0]]]:
        found[column] = found[column].map(list)
    pd.testing.assert_frame_equal(found, frame, check_dtype=False)
    assert read_provenance(tmp_path / "t.parquet") == {"seed": 1}


def test_equal_tables_are_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_table(tmp_path / name, one_row("norms"), "norms", {"b": 1, "a": [2]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_columns_must_fit_the_schema(tmp_path):
    frame = one_row("downstream")
    with pytest.raises(ArtefactError, match=r"columns missing \['n'\], unknown \['m'\]"):
        write_table(tmp_path / "t", frame.rename(columns={"n": "m"}), "downstream")
    with pytest.raises(ArtefactError, match="a column does not fit its type"):
        write_table(tmp_path / "t", frame.assign(step="first"), "downstream")
    assert not list(tmp_path.iterdir())


def test_a_segments_edits_hold_no_times(tmp_path):
    assert "edit_seconds" not in segment_schema("edits").names
    write_table(tmp_path / "t", one_row("edits").drop(columns="edit_seconds"), segment_schema("edits"))
    read_table(tmp_path / "t", "edits")


def test_damaged_and_foreign_tables_are_named(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(path, one_row("norms"), "norms")
    with pytest.raises(ArtefactError, match=r"t.parquet is no table of scores: columns \['case_id'"):
        read_table(path, "scores")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtefactError, match=r"t.parquet is damaged .* moved to t.parquet.damaged: run the"):
        read_table(path)
    with pytest.raises(ArtefactError, match=r"none.parquet does not exist"):
        read_table(tmp_path / "none.parquet")


def test_tensors_and_metadata_survive_in_equal_bytes(tmp_path):
    tensors = {"b": torch.arange(6.0).reshape(2, 3).T, "a": torch.ones(2, dtype=torch.float64)}
    for name in ("one", "two"):
        write_tensors(tmp_path / name, tensors, {"z": 1, "a": {"k": None}}, "state")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    back, metadata = read_tensors(tmp_path / "one")
    assert metadata == {"z": 1, "a": {"k": None}}
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path):
    path = tmp_path / "table[1].json"
    writing = "import os, sys; from normgrowth.io.atomic import whole_or_not_at_all as whole\n"
    writing += "with whole(sys.argv[1]) as partial: partial.write_text('half'); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", writing, path]).returncode == -signal.SIGKILL
    alive = tmp_path / f".{path.name}.{socket.gethostname()}-{os.getppid()}.partial"
    alive.write_text("of a process that goes on")
    assert len([*tmp_path.glob(".*")]) == 2
    write_json(path, 1)
    assert [*tmp_path.glob(".*")] == [alive]


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), whole_or_not_at_all(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == '{\n  "old": 1\n}\n'
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.json", "file.json.sha256"]


def test_folders_are_replaced_whole(tmp_path):
    for content in ("first", "second"):
        with whole_or_not_at_all(tmp_path / "folder") as partial:
            partial.mkdir()
            (partial / content).write_text(content)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["second"]


def test_a_full_disk_is_one_sentence(tmp_path):
    full = pytest.raises(ArtefactError, match=r"the disk is full: .*table.* could not be written. Free some space")
    with full, whole_or_not_at_all(tmp_path / "table"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount a file system here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_every_writer_survives_a_disk_that_is_really_full(small_disk):
    write_text(small_disk / "kept", "finished before")
    large = torch.rand(100_000)
    frame = pd.concat([one_row("norms")] * 100_000, ignore_index=True).assign(frobenius=large.double().numpy())
    for write in (
        lambda: write_text(small_disk / "text", "x" * 200_000),
        lambda: write_tensors(small_disk / "tensors", {"a": large}, {}, "state"),
        lambda: write_table(small_disk / "table", frame, "norms"),
    ):
        with pytest.raises(ArtefactError, match="the disk is full"):
            write()
    assert sorted(p.name for p in small_disk.iterdir()) == ["kept", "kept.sha256"]
    assert (small_disk / "kept").read_text() == "finished before"


def test_versions_that_are_not_recorded_cost_no_result(tmp_path, monkeypatch):
    """The package's code is there and the record of its installation is not."""
    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    said = provenance(seed=1)
    assert said == {"seed": 1, "versions": {"normgrowth": __version__, **dict.fromkeys(LIBRARIES, UNKNOWN)}}
    study, out = tmp_path / "facts.json", tmp_path / "provenance.json"
    write_json(study, [])
    lock = tmp_path / "elsewhere" / "lock.txt"
    lock.parent.mkdir()
    lock.write_text("torch==1\n")
    command = ["provenance", "--study", "{}", "--facts", str(study), "--lock", str(lock), "--out", str(out)]
    assert cli.main(command) == 0
    written = json.loads(out.read_text())
    assert written["versions"] == said["versions"]
    assert written["inputs"] == {str(study): file_sha256(study), "envs/lock.txt": file_sha256(lock)}


def missing(name: str):
    raise importlib.metadata.PackageNotFoundError(name)


def test_the_package_has_one_version():
    stated = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["version"]
    assert stated == __version__


def test_a_file_where_a_folder_belongs_and_the_reverse_are_named_and_kept(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for place, said in (
        ("file/out.json", "file is a file, where a folder belongs: move it away"),
        ("file/deeper/out.json", "file is a file, where a folder belongs"),
        ("lost/out.json", "lost is a link that leads nowhere, where a folder belongs"),
        ("folder", "folder is a folder, where a file belongs"),
    ):
        with pytest.raises(ArtefactError, match=said):
            write_json(tmp_path / place, {})
    for name, said in (("file", "file is a file, where a folder"), ("link", "link is a link, where a folder")):
        with pytest.raises(ArtefactError, match=said), whole_or_not_at_all(tmp_path / name) as partial:
            partial.mkdir()
    assert (tmp_path / "file").read_text() == "mine" and (tmp_path / "folder" / "inner").is_dir()
    assert not [*tmp_path.glob(".*.partial")] and not [*tmp_path.glob("folder/*.partial")]
