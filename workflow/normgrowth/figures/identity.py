"""The name and study that an SVG file says it shows. Read by the report: no heavy imports here."""

import html
import re

_IDENTIFIER = re.compile(rb"<dc:identifier>([^<]*)</dc:identifier>")


def identity_of(name: str, study: str) -> str:
    """What a figure's SVG file is to say: "norm_against_edits of demo"."""
    return f"{name} of {study}"


def said_by(picture: bytes) -> str | None:
    """What an SVG file says it shows; None where it says nothing."""
    found = _IDENTIFIER.search(picture)
    return html.unescape(found[1].decode("utf-8", errors="replace")) if found else None
