"""Running text from local files."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from normgrowth import cli
from normgrowth.config.sections import LocalText


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
