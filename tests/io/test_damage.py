"""A file that is not what was written is noticed, named, and moved out of the graph's way."""

import pandas as pd
import pytest
import torch

from normgrowth.errors import ArtefactError
from normgrowth.io.digests import damaged
from normgrowth.io.tables import read_table, write_table
from normgrowth.io.tensors import read_tensors, write_tensors
from tests.io.test_tables_and_tensors import one_row


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8, 0.999])
def test_any_flipped_bit_of_a_tensor_is_noticed(tmp_path, share):
    path = tmp_path / "state.safetensors"
    tensors = {"a": torch.randn(40, 50), "n": torch.tensor(3), "none": torch.zeros(0, 4)}
    write_tensors(path, tensors, {"step": 7}, "state")
    back, metadata = read_tensors(path)
    assert metadata == {"step": 7} and all(torch.equal(back[name], tensors[name]) for name in tensors)
    body = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    flip(path, body + int(share * (path.stat().st_size - body)))
    with pytest.raises(
        ArtefactError, match=r"is damaged .* moved to state.safetensors.damaged: run the workflow again"
    ):
        read_tensors(path)
    assert not path.exists() and (tmp_path / "state.safetensors.damaged").exists()


def test_no_flipped_bit_changes_a_value_of_a_table(tmp_path):
    """Pages carry checksums; their headers' statistics and the footer's hints do not, and nothing is read off them."""
    path = tmp_path / "norms.parquet"
    frame = pd.concat([one_row("norms")] * 500, ignore_index=True).assign(frobenius=torch.rand(500).numpy())
    write_table(path, frame, "norms")
    whole, expected = path.read_bytes(), read_table(path)
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    noticed = 0
    for at in range(4, footer, 13):
        path.write_bytes(whole)
        flip(path, at)
        try:
            pd.testing.assert_frame_equal(read_table(path), expected)
        except ArtefactError:
            noticed += 1
    assert noticed > footer / 13 / 2


def test_a_file_system_that_fails_costs_no_file(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"whole")
    error = damaged(path, OSError(5, "Input/output error"))
    assert "cannot be read" in str(error) and path.read_bytes() == b"whole"
