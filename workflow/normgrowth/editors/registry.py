"""The editors by name. A new one is one file in this folder and one line here."""

from importlib import import_module
from types import ModuleType

EDITORS: dict[str, str] = {
    "ft": "normgrowth.editors.ft",
    "memit": "normgrowth.editors.memit",
    "r_rome": "normgrowth.editors.r_rome",
}


def declaration(kind: str) -> ModuleType:
    """The editor's module: `Settings`, `NEEDS_STATISTICS`, `build(settings)`.

    Raises:
        KeyError: for an unknown name, listing those known.
    """
    if kind not in EDITORS:
        raise KeyError(f"unknown editor {kind!r}; known are {', '.join(sorted(EDITORS))}")
    return import_module(EDITORS[kind])
