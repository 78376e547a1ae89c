"""Registry of the editors. A new one is one file in this folder and one line here."""

from importlib import import_module
from types import ModuleType

EDITORS: dict[str, str] = {
    "alphaedit": "normgrowth.editors.alphaedit",
    "betaedit": "normgrowth.editors.betaedit",
    "blue": "normgrowth.editors.blue",
    "crispedit": "normgrowth.editors.crispedit",
    "deltaedit": "normgrowth.editors.deltaedit",
    "emmet": "normgrowth.editors.emmet",
    "encore": "normgrowth.editors.encore",
    "evoedit": "normgrowth.editors.evoedit",
    "ft": "normgrowth.editors.ft",
    "ft_l": "normgrowth.editors.ft_l",
    "locft": "normgrowth.editors.locft",
    "lora": "normgrowth.editors.lora",
    "lyaplock": "normgrowth.editors.lyaplock",
    "malmen": "normgrowth.editors.malmen",
    "memit": "normgrowth.editors.memit",
    "mend": "normgrowth.editors.mend",
    "mose": "normgrowth.editors.mose",
    "nas": "normgrowth.editors.nas",
    "no_feedback": "normgrowth.editors.no_feedback",
    "norm_restored": "normgrowth.editors.norm_restored",
    "nse": "normgrowth.editors.nse",
    "pmet": "normgrowth.editors.pmet",
    "prune": "normgrowth.editors.prune",
    "prune_aligned": "normgrowth.editors.prune_aligned",
    "r_rome": "normgrowth.editors.r_rome",
    "random_direction": "normgrowth.editors.random_direction",
    "rect": "normgrowth.editors.rect",
    "rect_aligned": "normgrowth.editors.rect_aligned",
    "revive": "normgrowth.editors.revive",
    "rlsedit": "normgrowth.editors.rlsedit",
    "rome": "normgrowth.editors.rome",
    "scale_only": "normgrowth.editors.scale_only",
    "simie": "normgrowth.editors.simie",
    "sphere": "normgrowth.editors.sphere",
    "stableedit": "normgrowth.editors.stableedit",
    "ultraedit": "normgrowth.editors.ultraedit",
}


def declaration(kind: str) -> ModuleType:
    """The editor's module: `Settings` and `build(settings)`.

    Raises:
        KeyError: for an unknown name, listing those known.
    """
    if kind not in EDITORS:
        raise KeyError(f"unknown editor {kind!r}; known are {', '.join(sorted(EDITORS))}")
    return import_module(EDITORS[kind])
