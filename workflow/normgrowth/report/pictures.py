"""Pictures inside the report's page: SVG as a data URI, made smaller without a change to what it shows."""

import re
from collections import Counter
from urllib.parse import quote

from markupsafe import Markup

AS_THEY_ARE = " '=:;,/<>()!$*+-._~?@[]{}|"
"""Characters that stand for themselves in the URI. A double quote and an ampersand, which mean something in an HTML
attribute, are not among them."""

STYLE = re.compile(r' style="([^"]*)"')
ROOT = re.compile(r"<svg [^>]*>")
ID = re.compile(r' id="([^"]*)"')
REFERENCE = re.compile(r'(url\(#|href="#)([^)"]+)')
PLACES = re.compile(r' (?:d|x|y)="[^"]*"')
LONG = re.compile(r"(\.\d\d)\d+")
"""A number with more decimals than can be seen: a hundredth is 0.01 points."""


def as_uri(svg: bytes) -> Markup:
    """A data URI of an SVG picture as matplotlib writes it, to stand in an attribute between double quotes.

    Its ids cannot meet those of another picture.
    """
    text = compact(svg.decode()).replace('"', "'")
    return Markup(f"data:image/svg+xml,{quote(text, safe=AS_THEY_ARE)}")


def compact(svg: str) -> str:
    """The picture in fewer bytes.

    Head, comments, metadata, blanks between elements and names that nothing refers to are left out, other names are
    short, places have two decimals, and each repeated style is written once.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r">\s+<", "><", svg)
    svg = PLACES.sub(lambda found: LONG.sub(r"\1", found[0]), re.sub(r"\s+", " ", svg))
    short = {
        name: f"i{number}" for number, name in enumerate(dict.fromkeys(name for _, name in REFERENCE.findall(svg)))
    }
    svg = ID.sub(lambda found: f' id="{short[found[1]]}"' if found[1] in short else "", svg)
    svg = REFERENCE.sub(lambda found: f"{found[1]}{short[found[2]]}", svg)
    repeated = [style for style, times in Counter(STYLE.findall(svg)).items() if times > 1]
    names = {style: f"s{number}" for number, style in enumerate(repeated)}
    svg = STYLE.sub(lambda found: f' class="{names[found[1]]}"' if found[1] in names else found[0], svg)
    rules = "".join(f".{name}{{{style}}}" for style, name in names.items())
    return ROOT.sub(lambda root: f"{root[0]}<style>{rules}</style>", svg, count=1)
