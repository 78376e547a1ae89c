"""Texts: encodings, line ends and types of Parquet columns."""

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from normgrowth.errors import NormgrowthError
from normgrowth.sources.text import windows
from tests.fuzz.oracle import encoded, fuzz, outcome
from tests.support import small_models

DOCUMENTS = [
    "It rained. " * 12,
    "Vela Marun was born in Oslo. " * 6,
    "東京は日本の首都です。" * 6,
    "a\n\n\nb",
    "",
    " ",
    "\x0c",
    "\ufeffx",
    "x\x00y",
]
BREAKS = ["\n\n", "\r\n\r\n", "\r\r", "\n \n", "\u2029", "\n"]
TYPES = [
    pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()), pa.binary(),
    pa.large_binary(), pa.list_(pa.string()), pa.int64(), pa.null(), pa.float32(), pa.struct([("text", pa.string())]),
]  # fmt: skip


def column(documents: list[str], kind: pa.DataType) -> pa.Array:
    if pa.types.is_list(kind):
        return pa.array([[text] for text in documents], kind)
    if pa.types.is_struct(kind):
        return pa.array([{"text": text} for text in documents], kind)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return pa.array(range(len(documents)), kind)
    if pa.types.is_null(kind):
        return pa.nulls(len(documents))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.array([text.encode() for text in documents], kind)
    if pa.types.is_dictionary(kind):
        return pa.array(documents).dictionary_encode()
    return pa.array(documents, kind)


@fuzz(400)
@given(st.data())
def test_a_text_is_read_rightly_or_refused_in_one_line(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("text")
    documents = data.draw(st.lists(st.sampled_from(DOCUMENTS), max_size=6))
    given_file, made = folder / "given", folder / "text.txt"
    options = []
    if data.draw(st.booleans()):
        given_file.write_bytes(encoded(data.draw, data.draw(st.sampled_from(BREAKS)).join(documents)))
        options = ["--column", "text"] if data.draw(st.integers(0, 9)) == 0 else []
    else:
        table = pa.table({"text": column(documents, data.draw(st.sampled_from(TYPES)))})
        pq.write_table(table, given_file)
        if data.draw(st.integers(0, 5)) == 0:
            bytes_ = given_file.read_bytes()
            given_file.write_bytes(bytes_[: data.draw(st.integers(0, len(bytes_)))])
        options = ["--column", data.draw(st.sampled_from(["text", "text", "text", "texts", ""]))]
        options += data.draw(st.sampled_from([[], ["--documents", "2"]]))
    if outcome("import-text", "--paths", given_file, *options, "--out", made).refused:
        assert not made.exists()
        return
    assert made.read_text(encoding="utf-8").strip()
    try:
        ids = windows(made, small_models.tokenizer("gpt2"), 8, 2, 0, "fuzz")
    except NormgrowthError:
        return
    assert ids.shape == (2, 8)
