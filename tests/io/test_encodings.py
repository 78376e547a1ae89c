"""Facts and texts in encodings that editors and spreadsheets write."""

import codecs
import gzip
import json

import pytest

from normgrowth import cli
from normgrowth.errors import ArtefactError, FactError
from normgrowth.facts.records import read_facts
from normgrowth.sources.text import documents
from normgrowth.study.inputs import editable_facts
from normgrowth.study.sections import LocalFacts
from tests.support import small_models

TEXT = "Zé – one.\n\n巴黎。"
MARKED = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


@pytest.mark.parametrize("encoding", MARKED)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_text_with_a_mark_is_read(tmp_path, encoding, ends):
    file = tmp_path / "text.txt"
    file.write_bytes(MARKED[encoding] + TEXT.replace("\n", ends).encode(encoding))
    assert documents(file) == ["Zé – one.", "巴黎。"]
    out = tmp_path / "out.txt"
    assert cli.main(["import-text", "--paths", str(file), "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == TEXT + "\n"


@pytest.mark.parametrize("encoding", MARKED)
@pytest.mark.parametrize("layout", [{}, {"indent": 2}, {"ensure_ascii": False}, {"sort_keys": True}])
def test_facts_with_a_mark_are_read_and_counted(tmp_path, encoding, layout):
    file = tmp_path / "facts.json"
    records = small_models.records()
    records[0]["requested_rewrite"]["subject"] = "a/b \u00e9"
    records[1]["requested_rewrite"]["subject"] = "A/B E\u0301 "
    records[2]["attribute"] = {"subject": "another", "nested": [{"subject": "one more"}]}
    text = json.dumps(records, **layout).replace("a/b", "a\\/b")
    file.write_bytes(MARKED[encoding] + text.encode(encoding))
    facts = read_facts(file)
    source = LocalFacts(kind="local", path=str(file))
    assert editable_facts(source, None, unique_subjects=False) == len(facts) == len(records)
    assert editable_facts(source, None, unique_subjects=True) == len(records) - 1


def gzipped(text: str) -> bytes:
    return gzip.compress(text.encode())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            lambda text: text.encode("utf-16-le"),
            "seems to be UTF-16LE without a byte-order mark: convert it with `iconv",
        ),
        (
            lambda text: text.encode("utf-16-be"),
            "seems to be UTF-16BE without a byte-order mark: convert it with `iconv",
        ),
        (
            lambda text: text.encode("utf-32-le"),
            "seems to be UTF-32LE without a byte-order mark: convert it with `iconv",
        ),
        (
            lambda text: text.encode("utf-32-be"),
            "seems to be UTF-32BE without a byte-order mark: convert it with `iconv",
        ),
        (lambda text: text.encode("latin-1"), "is not UTF-8: "),
        (lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le") + b"x", "is not UTF-16LE: truncated data at byte"),
        (lambda text: text.encode() + b"\0", "holds a NUL at character"),
        (gzipped, "is a gzip file: unpack it with gunzip"),
        (lambda text: b"PK\x03\x04" + text.encode(), "is a zip file: unpack it with unzip"),
        (
            lambda text: b"PAR1" + text.encode(),
            "is a Parquet file: a text source reads it if `column` names its column",
        ),
    ],
)
def test_what_is_no_unicode_is_said_in_one_line(tmp_path, content, said):
    file = tmp_path / "file"
    file.write_bytes(content(json.dumps(["x" * 50, "é"], ensure_ascii=False)))
    for read, fault, kind in ((documents, ArtefactError, "text"), (read_facts, FactError, "facts")):
        with pytest.raises(fault) as refused:
            read(file)
        assert str(refused.value).startswith(f"{kind} file {file} ") and said in str(refused.value)
        assert "\n" not in str(refused.value)


def test_folders_are_no_files(tmp_path):
    with pytest.raises(FactError, match="does not exist: there is a folder of that name"):
        read_facts(tmp_path)
    with pytest.raises(ArtefactError, match="does not exist: there is a folder of that name"):
        documents(tmp_path)


@pytest.mark.parametrize(
    "between", ["\n\n", "\n \t\n", "\n\f\n", "\r\n\r\n", "\r\r", "\n\n\n\n", "\n\u3000\n", "\n\n \n\ufeff\n\n"]
)
def test_blank_lines_separate_documents(tmp_path, between):
    file = tmp_path / "text.txt"
    file.write_bytes(f"{between}One.\nStill.{between}Two.{between}".encode())
    assert documents(file) == ["One.\nStill.", "Two."]
    out = tmp_path / "out.txt"
    assert cli.main(["import-text", "--paths", str(file), str(file), "--out", str(out)]) == 0
    assert documents(out) == ["One.\nStill.", "Two."] * 2


@pytest.mark.parametrize("content", ["", " \n\n ", "\ufeff", "\f\n\u3000\n\u200b"])
def test_texts_that_show_nothing_are_empty(tmp_path, capsys, content):
    file = tmp_path / "text.txt"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ArtefactError, match="holds no text"):
        documents(file)
    assert cli.main(["import-text", "--paths", str(file), "--out", str(tmp_path / "out.txt")]) == 1
    assert capsys.readouterr().err == f"normgrowth import-text: text file {file} is empty\n"
