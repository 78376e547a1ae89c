"""What every command owes its user whatever the input: an exit code, and one line where it is not 0."""

import contextlib
import copy
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st

from normgrowth import cli

SLOW = os.environ.get("RUN_SLOW") == "1"

_VALUES = st.sampled_from(
    [
        None, True, False, 0, -1, 1, 3, 10**6, 2**31, 10**30, 0.0, -0.5, 1.5, float("nan"), float("inf"), "", " ", "x",
        "0", "1e400", "None", "{}", "{", "}", "\x00", "\n", "../..", "/", "a/b", "\ufeff", "\u200b", "\u00a0", "é",
        "e\u0301", "東京", "ไทย", "🙂", "\ud800", "x" * 5000, [], [[]], [0], [""], ["x"], [None], {}, {"": ""},
        {"str": "x"}, {"kind": "x"},
    ]
)  # fmt: skip
HOSTILE = _VALUES.map(copy.deepcopy)  # a later change of one must not reach the next case
"""Values of the wrong type, size or script, for any place of a JSON or YAML document."""


def fuzz(examples: int):
    """Settings of a fuzz test of so many cases where slow tests run, and of a twentieth of them elsewhere."""
    return settings(
        max_examples=examples if SLOW else examples // 20,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # a failure names what was drawn; making it smaller would take minutes
        report_multiple_bugs=False,
        database=None,
    )


class _NoAnswer(io.TextIOBase):
    def readable(self) -> bool:
        return True

    def readline(self, *_) -> str:
        raise AssertionError("a command waited for an answer")

    read = readline

    def fileno(self) -> int:
        raise io.UnsupportedOperation("no terminal")


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    message: str  # on stderr

    @property
    def refused(self) -> bool:
        """True where the command ended with an error for its user."""
        return self.code != 0


def outcome(*arguments: str | Path) -> Outcome:
    """Run a command in this process; what it raises is a traceback that a user would see, and is raised here too."""
    said, shown = io.StringIO(), io.StringIO()
    given, sys.stdin = sys.stdin, _NoAnswer()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(shown):
            code = cli.main([str(argument) for argument in arguments])
    finally:
        sys.stdin = given
    if code:
        last = said.getvalue().strip().splitlines()[-1:]
        assert code == 1 and last and last[0].startswith(f"normgrowth {arguments[0]}: "), said.getvalue()
        assert "Traceback" not in said.getvalue()
        assert len(last[0]) < 3000, "one line that a person can read"
    event(f"{arguments[0]}: {'refused' if code else 'done'}")
    return Outcome(code, said.getvalue())


@st.composite
def places(draw, document):
    """A place inside a JSON document, as the containers and the key that lead to it."""
    node, container, key = document, None, None
    while isinstance(node, dict | list) and node and (container is None or draw(st.integers(0, 3))):
        container = node
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        node = node[key]
    return container, key


def change_somewhere(draw, document) -> None:
    """Replace, remove, repeat or add something at a random place of a JSON document."""
    container, key = draw(places(document))
    if container is None:
        return
    action = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
    if action == "replace":
        container[key] = draw(HOSTILE)
    elif action == "remove":
        del container[key]
    elif isinstance(container, dict):
        container[draw(st.sampled_from(["x", "kind", "path", ""]))] = draw(HOSTILE)
    else:
        container.append(draw(HOSTILE))


def encoded(draw, text: str) -> bytes:
    """A text as some program may have saved it."""
    form = draw(
        st.sampled_from(
            ["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"]
        )
    )
    data = text.encode(form, errors="replace" if form == "latin-1" else "surrogatepass")
    if draw(st.integers(0, 5)):
        return data
    at = draw(st.integers(0, max(0, len(data) - 1)))
    return draw(
        st.sampled_from(
            [
                data[:at],
                b"",
                data[:at] + b"\xff" + data[at:],
                data[:at] + b"\x00" + data[at:],
                b"[" * 200_000,
                data + data,
            ]
        )
    )
