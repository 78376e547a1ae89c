"""RECT aligned with history: what it cuts off a step is carried over into later ones (OTE-SE, arXiv 2605.26670)."""

from typing import TYPE_CHECKING

from normgrowth.editors import rect
from normgrowth.editors.settings import AlignedSettings

if TYPE_CHECKING:
    from normgrowth.editors.base import Editor


class Settings(AlignedSettings, rect.Settings):
    """Settings of aligned RECT: RECT's, with the same defaults but for the memory of earlier keys."""


def build(settings: Settings) -> "Editor":
    """The editor with these settings."""
    return rect.restrained(settings, aligned=True)
