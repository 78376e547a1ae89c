"""Text and JSON have their digest beside them: a change of either is found, and the one that changed is named."""

import hashlib
import os
import subprocess

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from normgrowth import cli
from normgrowth.errors import ArtefactError
from normgrowth.io.digests import beside
from normgrowth.io.documents import intact, read_json, with_digest, write_json, write_text
from normgrowth.io.identity import require
from normgrowth.io.tables import read_table
from normgrowth.io.tensors import read_tensors, write_tensors


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.text(min_size=1, max_size=200), st.data())
def test_any_flipped_bit_of_a_text_or_its_digest_is_found_and_named(tmp_path_factory, text, data):
    path = tmp_path_factory.mktemp("texts") / "text.txt"
    write_text(path, text)
    assert intact(path).read_bytes() == text.encode()
    changed = data.draw(st.sampled_from([path, beside(path)]))
    content, times = bytearray(changed.read_bytes()), os.stat(changed)
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    changed.write_bytes(bytes(content))
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ArtefactError) as caught:
        intact(path)
    message = str(caught.value)
    assert message.startswith(f"{changed} is damaged") or (changed != path and message.startswith(str(changed)))
    assert "\n" not in message and "run the workflow again" in message
    assert path.exists() == (changed != path), "a good file stays where it is, a damaged one is moved aside"


def test_the_digest_is_what_sha256sum_checks(tmp_path):
    write_json(tmp_path / "a name.json", {"a": "Ñuble"})
    command = ["sha256sum", "--check", "a name.json.sha256"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    (tmp_path / "a name.json").write_text("{}")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 1


def test_what_is_missing_a_folder_or_without_a_digest_is_named(tmp_path):
    def said(path) -> str:
        with pytest.raises(ArtefactError) as caught:
            intact(path)
        return str(caught.value)

    assert said(tmp_path / "none.txt") == f"{tmp_path}/none.txt does not exist; the workflow makes it"
    assert said(tmp_path) == f"{tmp_path} is a folder, where a file is asked for: give the file itself"
    write_text(tmp_path / "text.txt", "x")
    below = tmp_path / "text.txt" / "below.txt"
    assert said(below) == f"{below} does not exist; the workflow makes it"
    write_text(tmp_path / "other.txt", "x")
    beside(tmp_path / "text.txt").write_bytes(beside(tmp_path / "other.txt").read_bytes())
    assert "text.txt.sha256 is the digest of another file, other.txt; delete" in said(tmp_path / "text.txt")
    beside(tmp_path / "text.txt").unlink()
    assert "text.txt.sha256, the digest of text.txt, does not exist: a file of the workflow" in said(
        tmp_path / "text.txt"
    )
    beside(tmp_path / "text.txt").mkdir()
    assert "text.txt.sha256 is damaged; delete" in said(tmp_path / "text.txt")
    for read in (read_tensors, read_table):
        with pytest.raises(ArtefactError, match="is a folder, where a file is asked for"):
            read(tmp_path)
        (tmp_path / "empty").write_bytes(b"")
        with pytest.raises(ArtefactError, match=r"empty is damaged .it is empty.; it was moved"):
            read(tmp_path / "empty")


def test_a_failed_write_keeps_the_file_and_its_digest(tmp_path):
    write_text(tmp_path / "text.txt", "old")
    with pytest.raises(RuntimeError), with_digest(tmp_path / "text.txt") as partial:
        partial.write_text("half")
        raise RuntimeError
    assert intact(tmp_path / "text.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_no_json_is_said(tmp_path):
    for content in (b"{", b"\xff\xfe{", b"[" * 100_000):
        with with_digest(tmp_path / "x.json") as partial:
            partial.write_bytes(content)
        with pytest.raises(ArtefactError, match=r"x.json holds no JSON \(.*\); delete it and run the workflow again"):
            read_json(tmp_path / "x.json")


def test_holdings_say_what_is_there_and_what_belongs():
    held = {"model": "a", "seed": 0}
    require("f", held, held)
    with pytest.raises(ArtefactError, match=r"^f holds seed 0, where seed 1 belongs; delete it and run the workflow"):
        require("f", held, {"model": "a", "seed": 1})
    with pytest.raises(ArtefactError, match=r"^f does not say its facts: another version of the package wrote it"):
        require("f", held, {"facts": "x"})


def test_tensors_that_lack_something_are_of_another_version(tmp_path):
    write_tensors(tmp_path / "t.safetensors", {}, {"layers": [1]}, "second moments")
    tensors, metadata = read_tensors(tmp_path / "t.safetensors", "second moments")
    for entries, name in ((tensors, "moment.1"), (metadata, "count")):
        with pytest.raises(ArtefactError, match=f"t.safetensors holds no {name}: another version of the package"):
            entries[name]
    with pytest.raises(ArtefactError, match=r"t.safetensors holds second moments, not null spaces; delete it"):
        read_tensors(tmp_path / "t.safetensors", "null spaces")


@pytest.mark.parametrize("option", ["--facts", "--contexts"])
def test_commands_look_at_text_and_json_before_any_work(tmp_path, capsys, option):
    """The model does not even exist."""
    files = {name: tmp_path / f"{name[2:]}.json" for name in ("--facts", "--contexts")}
    for path in files.values():
        write_json(path, [])
    with open(files[option], "ab") as file:
        file.write(b" ")
    words = ["edit", "--study", "s", "--model-name", "m", "--editor-name", "ft", "--order", "0", "--model", "none"]
    words += ["--seed", "0", "--segment", "1", "--first", "1", "--last", "1", "--editor", "ft", "--settings", "{}"]
    words += ["--chain", "c", *(str(word) for pair in files.items() for word in pair)]
    assert cli.main(words) == 1
    assert capsys.readouterr().err.startswith(f"normgrowth edit: {files[option]} is damaged")


def test_a_download_is_the_file_of_its_name(tmp_path, capsys):
    content = b"The home of Tirel is Oslo."
    name = hashlib.sha256(content).hexdigest()
    path, out = tmp_path / "downloads" / name, tmp_path / "text.txt"
    path.parent.mkdir()
    path.write_bytes(content)
    assert cli.main(["import-text", "--paths", str(path), "--out", str(out)]) == 0
    path.write_bytes(content + b".")
    assert cli.main(["import-text", "--paths", str(path), "--out", str(out)]) == 1
    assert f"import-text: {path} is damaged (its SHA-256 is " in capsys.readouterr().err
    assert not path.exists() and path.with_name(f"{name}.damaged").exists()
    (tmp_path / name).write_bytes(content + b".")  # a user's own, whatever it is called
    assert cli.main(["import-text", "--paths", str(tmp_path / name), "--out", str(out)]) == 0


@pytest.mark.parametrize("kind", ["table", "tensors"])
def test_a_whole_file_of_another_version_is_named_and_stays(tmp_path, kind):
    path = tmp_path / kind
    if kind == "table":
        pd.DataFrame({"a": [1]}).to_parquet(path)
    else:
        save_file({"a": torch.ones(2)}, path)
    with pytest.raises(
        ArtefactError, match=r"holds no digest of its own bytes: another version .* or read it with that"
    ):
        read_table(path) if kind == "table" else read_tensors(path)
    assert path.exists()
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ArtefactError, match=r"is damaged .it is cut short, or of another format.; it was moved"):
        read_table(path) if kind == "table" else read_tensors(path)
