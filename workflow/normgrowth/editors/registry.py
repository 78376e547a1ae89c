"""Registry of the editors. A new one is one file in this folder and one line here."""

from importlib import import_module
from types import ModuleType

EDITORS: dict[str, str] = {
    "alphaedit": "normgrowth.editors.alphaedit",
    "blue": "normgrowth.editors.blue",
    "emmet": "normgrowth.editors.emmet",
    "encore": "normgrowth.editors.encore",
    "ft": "normgrowth.editors.ft",
    "ft_l": "normgrowth.editors.ft_l",
    "lora": "normgrowth.editors.lora",
    "malmen": "normgrowth.editors.malmen",
    "memit": "normgrowth.editors.memit",
    "mend": "normgrowth.editors.mend",
    "nas": "normgrowth.editors.nas",
    "no_feedback": "normgrowth.editors.no_feedback",
    "norm_restored": "normgrowth.editors.norm_restored",
    "pmet": "normgrowth.editors.pmet",
    "r_rome": "normgrowth.editors.r_rome",
    "random_direction": "normgrowth.editors.random_direction",
    "revive": "normgrowth.editors.revive",
    "rome": "normgrowth.editors.rome",
    "scale_only": "normgrowth.editors.scale_only",
    "simie": "normgrowth.editors.simie",
    "sphere": "normgrowth.editors.sphere",
}


def declaration(kind: str) -> ModuleType:
    """The editor's module: `Settings` and `build(settings)`.

    Raises:
        KeyError: for an unknown name, listing those known.
    """
    if kind not in EDITORS:
        raise KeyError(f"unknown editor {kind!r}; known are {', '.join(sorted(EDITORS))}")
    return import_module(EDITORS[kind])
