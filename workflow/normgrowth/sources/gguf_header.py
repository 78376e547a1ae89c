"""Header of a GGUF file: shape of its model, and tensors that it holds. Free of heavy imports, for the workflow.

The format is that of ggml's specification (docs/gguf.md there), versions 2 and 3. A file may be given in parts, as
packages hold it; they are read as one. The package `gguf` reads such files too, but takes seconds for a vocabulary.
"""

import io
import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from normgrowth.errors import ModelError
from normgrowth.sources.checkpoint_files import listed

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32
"""Bytes to whose multiples data is aligned, where a file does not say."""

STRING, LIST = 8, 9
FIXED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Letters of `struct` for the values of fixed width, by their number in the format."""


class Listed(NamedTuple):
    """A list in a header, of which only the length is kept."""

    length: int


class Stored(NamedTuple):
    """A tensor as it stands in the file."""

    name: str
    kind: int  # ggml's number of its type
    shape: tuple[int, ...]  # the dimension whose neighbours are adjacent comes first
    offset: int  # in bytes, from the beginning of the data

    @property
    def numbers(self) -> int:
        """Number of its elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """Header of a GGUF file."""

    fields: dict[str, object]  # by key: numbers, truth values, texts and `Listed`
    tensors: tuple[Stored, ...]
    data_start: int  # position of the tensors' data, in bytes
    size: int  # bytes of the whole file

    @property
    def architecture(self) -> str:
        """Name of the model's architecture in ggml's words."""
        return str(self.fields["general.architecture"])

    @property
    def layers(self) -> int | None:
        """Number of transformer blocks; None where the file does not say."""
        return self._count("block_count")

    @property
    def context(self) -> int | None:
        """Most tokens that the model reads at once; None where the file does not say."""
        return self._count("context_length")

    @property
    def hidden(self) -> int | None:
        """Width of the residual stream; None where the file does not say."""
        return self._count("embedding_length")

    @property
    def keys(self) -> int | None:
        """Width of what MLP down-projections read; None where the file does not say, or layers differ."""
        return self._count("feed_forward_length")

    @property
    def vocabulary(self) -> int | None:
        """Number of tokens; None where the file does not say."""
        tokens = self.fields.get("tokenizer.ggml.tokens")
        return self._count("vocab_size") or (tokens.length if isinstance(tokens, Listed) else None)

    @property
    def parameters(self) -> int:
        """Number of the elements of all tensors."""
        return sum(tensor.numbers for tensor in self.tensors)

    def _count(self, key: str) -> int | None:
        value = self.fields.get(f"{self.architecture}.{key}")
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def read_header(parts: Iterable[Path]) -> Header:
    """The header of a GGUF file, given as the files that it was cut into, in their order.

    Raises:
        ModelError: when the parts cannot be read, are no GGUF file, or end within the header.
    """
    paths = tuple(parts)
    try:
        states = [path.stat() for path in paths]
    except OSError as error:
        raise ModelError(f"{error.filename} cannot be read ({error.strerror}): correct the path") from error
    return _read_header(paths, tuple((state.st_size, state.st_mtime_ns) for state in states))


def named(parts: Sequence[Path]) -> str:
    """A file in messages, by the names of its parts."""
    return listed(parts)


@lru_cache(maxsize=64)
def _read_header(paths: tuple[Path, ...], states: tuple[tuple[int, int], ...]) -> Header:
    """The header, read once while sizes and times of last change of the parts stay as in `states`."""
    size = sum(bytes_ for bytes_, _ in states)
    try:
        with _joined(paths) as file:
            return _Reader(file, size, named(paths)).header()
    except OSError as error:
        raise ModelError(f"{named(paths)} cannot be read ({error.strerror}): see to the file and try again") from error


class _Reader:
    """Reading a GGUF file from its beginning."""

    def __init__(self, file: io.BufferedReader, size: int, name: str) -> None:
        self.file, self.size, self.name = file, size, name
        self.position = 0

    def header(self) -> Header:
        """The header of the file."""
        beginning = self.file.read(len(MAGIC))
        if beginning != MAGIC:
            raise ModelError(
                f"{self.name} is no GGUF file: it begins with {beginning!r} and not with {MAGIC!r}; give a file that "
                "does, or its parts in their order"
            )
        self.position = len(MAGIC)
        (version,) = self.numbers("I")
        if version not in VERSIONS:
            raise ModelError(
                f"{self.name} is of version {version} of GGUF, or of the other byte order: versions 2 and 3 are read, "
                "of little-endian files; convert the model again"
            )
        n_tensors, n_fields = self.numbers("QQ")
        fields = dict(self.field() for _ in range(n_fields))
        tensors = tuple(self.tensor() for _ in range(n_tensors))
        if not isinstance(fields.get("general.architecture"), str):
            raise ModelError(f"{self.name} names no architecture (general.architecture): convert the model again")
        stated = fields.get("general.alignment")
        alignment = stated if isinstance(stated, int) and stated > 0 else ALIGNMENT
        return Header(fields, tensors, -(-self.position // alignment) * alignment, self.size)

    def field(self) -> tuple[str, object]:
        """A key and its value."""
        key = self.text()
        (kind,) = self.numbers("I")
        return key, self.value(kind)

    def value(self, kind: int) -> object:
        """A value of this type; of a list its length."""
        if kind == STRING:
            return self.text()
        if kind != LIST:
            return self.numbers(self.letter(kind))[0]
        inner, length = self.numbers("IQ")
        if inner == STRING:
            self.skip_texts(length)
        else:
            self.take(length * struct.calcsize(self.letter(inner)))
        return Listed(length)

    def skip_texts(self, count: int) -> None:
        """Go past texts: a vocabulary has hundreds of thousands, so each costs two reads and nothing else."""
        read, width = self.file.read, 8
        for _ in range(count):
            length = int.from_bytes(read(width), "little")
            self.position += width + length
            if self.position > self.size:
                raise self.cut()
            read(length)

    def letter(self, kind: int) -> str:
        """Letter of `struct` for a type of fixed width."""
        if kind not in FIXED:
            raise ModelError(f"{self.name} is damaged: its header names a type of value {kind}, which GGUF has not")
        return FIXED[kind]

    def tensor(self) -> Stored:
        """A tensor's entry."""
        name = self.text()
        (dimensions,) = self.numbers("I")
        shape = struct.unpack(f"<{dimensions}Q", self.take(8 * dimensions))
        kind, offset = self.numbers("IQ")
        return Stored(name, kind, shape, offset)

    def text(self) -> str:
        """A text with its length before it."""
        return self.take(self.numbers("Q")[0]).decode("utf-8", errors="replace")

    def numbers(self, letters: str) -> tuple:
        """Values of fixed width."""
        return struct.unpack(f"<{letters}", self.take(struct.calcsize(f"<{letters}")))

    def take(self, count: int) -> bytes:
        """The next bytes; no more than the file has are asked for, whatever a damaged length says."""
        if count > self.size - self.position:
            raise self.cut()
        self.position += count
        return self.file.read(count)

    def cut(self) -> ModelError:
        """Fault of a file whose header asks for more than the file holds."""
        return ModelError(
            f"{self.name} is cut or damaged: it ends within its header, after {self.size} bytes; get the file again"
        )


class _Joined(io.RawIOBase):
    """Files read one after the other."""

    def __init__(self, files: Iterable[io.BufferedIOBase]) -> None:
        self.files = iter(files)
        self.current = next(self.files, None)

    def readable(self) -> bool:
        """True: it is for reading."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The number of bytes read into the buffer; 0 at the end of the last file."""
        view = memoryview(buffer)
        while self.current is not None:
            if count := self.current.readinto(view):
                return count
            self.current = next(self.files, None)
        return 0


@contextmanager
def _joined(paths: Iterable[Path]) -> Iterator[io.BufferedReader]:
    with ExitStack() as stack:
        files = [stack.enter_context(open(path, "rb")) for path in paths]
        yield io.BufferedReader(_Joined(files), 1 << 20)
