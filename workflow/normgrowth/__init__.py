"""Norm growth and stability of language models under sequential knowledge editing.

    import normgrowth as ng

    lm = ng.load("openai-community/gpt2-xl")
    edited = ng.edit(lm, [{"subject": "The Eiffel Tower", "prompt": "{} is in the city of", "target": "Rome"}])
    edited.norms

docs/library.md says more. Importing this imports nothing else: torch and pandas come with the first name that is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from normgrowth.api.editing import Edited, edit, undo
    from normgrowth.api.measuring import Comparison, compare, score
    from normgrowth.api.models import complete, load
    from normgrowth.api.results import Results, read_results
    from normgrowth.api.toy import SmallWorld, small_world

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "Edited",
    "Results",
    "SmallWorld",
    "compare",
    "complete",
    "edit",
    "load",
    "read_results",
    "score",
    "small_world",
    "undo",
]

_MODULES = {
    "editing": ("Edited", "edit", "undo"),
    "measuring": ("Comparison", "compare", "score"),
    "models": ("complete", "load"),
    "results": ("Results", "read_results"),
    "toy": ("SmallWorld", "small_world"),
}
"""Names by the module of `api` that holds them. None may be a room's: an imported room is an attribute here."""


def __getattr__(name: str) -> object:
    """A name of the library, whose module is imported now."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.api.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
