"""Running text from local files."""

import pytest

from normgrowth import cli


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
