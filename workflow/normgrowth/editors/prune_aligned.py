"""PRUNE aligned with history: what it cuts off a step is carried over into later ones (OTE-SE, arXiv 2605.26670)."""

from typing import TYPE_CHECKING

from normgrowth.editors import prune
from normgrowth.editors.settings import AlignedSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(AlignedSettings, prune.Settings):
    """Settings of aligned PRUNE: PRUNE's, with the same defaults but for the memory of earlier keys."""


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    return prune.restrained(settings, aligned=True)
