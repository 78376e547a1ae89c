"""Running text from local files."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from normgrowth import cli
from normgrowth.study.sections import LocalText


def take(tmp_path, *contents: bytes) -> tuple[int, str]:
    paths = []
    for number, content in enumerate(contents):
        paths.append(tmp_path / f"{number}.txt")
        paths[-1].write_bytes(content)
    out = tmp_path / "out.txt"
    code = cli.main(["import-text", "--paths", *map(str, paths), "--out", str(out)])
    return code, out.read_text(encoding="utf-8") if out.exists() else ""


def test_files_are_documents_of_one_text(tmp_path):
    assert take(tmp_path, b"\xef\xbb\xbfOne.\r\n\r\nTwo.\n\n\n", "Drei: ü.\n".encode()) == (
        0,
        "One.\n\nTwo.\n\nDrei: ü.\n",
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"caf\xe9 au lait", "0.txt is not UTF-8: invalid continuation byte at byte 3; convert it with iconv"),
        (b" \n\n", "0.txt is empty"),
    ],
)
def test_what_is_no_text_is_said(tmp_path, capsys, content, said):
    assert take(tmp_path, content) == (1, "")
    assert capsys.readouterr().err.strip().endswith(said)


def test_a_missing_file_is_said(tmp_path, capsys):
    missing = tmp_path / "missing"
    assert cli.main(["import-text", "--paths", str(missing), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"normgrowth import-text: text file {missing} does not exist\n"


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def test_a_column_of_parquet_files_is_one_document_a_row(tmp_path, capsys):
    first = parquet(tmp_path / "1.parquet", text=["A title\n\nA text.", "", None], id=[1, 2, 3])
    second = parquet(tmp_path / "2.parquet", text=["Another.", "Too many."], id=[4, 5])
    out = tmp_path / "out.txt"
    command = ["import-text", "--paths", str(first), str(second), "--out", str(out), "--column"]
    assert cli.main([*command, "text", "--documents", "2"]) == 0
    assert out.read_text(encoding="utf-8") == "A title\nA text.\n\nAnother.\n"
    assert cli.main([*command, "id"]) == 1
    assert "1.parquet has no column 'id' of text; it has text, id" in capsys.readouterr().err
    first.write_text("no Parquet")
    assert cli.main([*command, "text"]) == 1
    assert "1.parquet is no Parquet file" in capsys.readouterr().err


def test_documents_are_counted_in_parquet_only():
    with pytest.raises(ValidationError, match="name their column too"):
        LocalText(kind="local", paths=("a.txt",), documents=3)


DOCUMENTS = ["One.", None, "  ", "Zwei:\n\nü.", "One."]


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary()),
        pa.dictionary(pa.int32(), pa.string()),
    ],
    ids=str,
)
def test_every_type_of_text_is_read(tmp_path, kind):
    values = pa.array(DOCUMENTS, pa.string())
    file = parquet(tmp_path / "1.parquet", text=values.cast(kind))
    assert pq.ParquetFile(file).schema_arrow.field("text").type == kind
    out = tmp_path / "out.txt"
    assert cli.main(["import-text", "--paths", str(file), "--out", str(out), "--column", "text"]) == 0
    assert out.read_text(encoding="utf-8") == "One.\n\nZwei:\nü.\n\nOne.\n"


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([1, 2]), "has no column 'text' of text; it has text, id, of text id ('text' is of type int64)"),
        (pa.array([["a"], ["b"]]), "('text' is of type list<element: string>)"),
        (pa.array([{"a": "b"}] * 2), "('text' is of type struct<a: string>)"),
        (pa.nulls(2), "('text' is of type null)"),
        (pa.array([b"\xff\xfe", b"a"]), "column 'text' of {path}, of type binary, is damaged or no UTF-8: "),
        (pa.array([None, None], pa.string()), "column 'text' of {path} holds no text"),
        (pa.array(["", " \n\u200b"]), "column 'text' of {path} holds no text"),
    ],
)
def test_columns_without_text_are_said(tmp_path, capsys, column, said):
    file = parquet(tmp_path / "1.parquet", text=column, id=["a", "b"])
    command = ["import-text", "--paths", str(file), "--out", str(tmp_path / "out.txt"), "--column", "text"]
    assert cli.main(command) == 1
    printed = capsys.readouterr().err
    assert said.replace("{path}", str(file)) in printed and printed.count("\n") == 1
    assert not (tmp_path / "out.txt").exists()


def test_damaged_parquet_files_are_named(tmp_path, capsys):
    file = parquet(tmp_path / "1.parquet", text=["a text that is rather long"] * 2000)
    content = bytearray(file.read_bytes())
    content[4:60] = b"\xff" * 56
    command = ["import-text", "--paths", str(file), "--out", str(tmp_path / "out.txt"), "--column", "text"]
    for broken in (bytes(content), bytes(content[: len(content) // 2]), b""):
        file.write_bytes(broken)
        assert cli.main(command) == 1
        assert str(file) in capsys.readouterr().err
