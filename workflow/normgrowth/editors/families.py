"""The families of editors: those that the paper compares, a later one, remedies and control arms. Free of torch."""

from collections.abc import Iterable

FINE_TUNING = "fine-tuning"
HYPERNETWORK = "hypernetwork"
REGRESSION = "gradient regression"
LOCATE = "locate-and-edit"
REMEDY = "remedy"
CONTROL = "control arm"

FAMILIES: dict[str, tuple[str, ...]] = {
    FINE_TUNING: ("ft", "ft_l", "lora", "locft", "crispedit"),
    HYPERNETWORK: ("mend", "malmen"),
    REGRESSION: ("ultraedit", "stableedit"),
    LOCATE: (
        *("rome", "r_rome", "memit", "emmet", "pmet", "alphaedit", "encore", "nas"),
        *("rect", "rect_aligned", "prune", "prune_aligned", "lyaplock", "rlsedit"),
        *("mose", "evoedit", "betaedit", "deltaedit", "nse"),
    ),
    REMEDY: ("revive", "sphere", "simie", "blue"),
    CONTROL: ("norm_restored", "no_feedback", "scale_only", "random_direction"),
}

PLURAL: dict[str | None, str] = {
    FINE_TUNING: "fine-tuning",
    HYPERNETWORK: "hypernetworks",
    REGRESSION: "gradient regression",
    LOCATE: "locate-and-edit",
    REMEDY: "remedies",
    CONTROL: "control arms",
    None: "other editors",
}
"""Heading over each family's editors, in the order of every figure and table."""


def kind_of(editor: str) -> str:
    """The kind of an editor of a study: variants are named `<kind>-<variant>`, wrappers `<kind>-<wrapped editor>`."""
    return editor.split("-", 1)[0]


def family_of(editor: str) -> str | None:
    """The family of an editor of a study; None for one that the paper has no family for."""
    return next((family for family, kinds in FAMILIES.items() if kind_of(editor) in kinds), None)


def is_control(editor: str) -> bool:
    """True for a control arm, which tells causes apart and is no editing method."""
    return family_of(editor) == CONTROL


def is_remedy(editor: str) -> bool:
    """True for a remedy, an editing method that stands around another editor."""
    return family_of(editor) == REMEDY


def wrapped_editor(editor: str) -> str | None:
    """The editor that a remedy or control arm is named after; None for any other editor, and where none is named."""
    return (editor.partition("-")[2] or None) if is_control(editor) or is_remedy(editor) else None


def with_wrapped(editor: str) -> list[str]:
    """An editor and those inside it, the innermost last."""
    wrapped = wrapped_editor(editor)
    return [editor, *(with_wrapped(wrapped) if wrapped else [])]


def controlled_editor(editor: str) -> str | None:
    """The editor that a control arm is named after; None for what is no control arm or names none."""
    return wrapped_editor(editor) if is_control(editor) else None


def in_order(editors: Iterable[str]) -> list[str]:
    """Editors in the order of every legend and table: by family, variants behind what they vary, unknown ones last.

    Remedies, and control arms, stand in the order of what they wrap.
    """
    return sorted(editors, key=_place)


def by_family(editors: list[str]) -> dict[str | None, list[str]]:
    """The families that have editors here, each with its own in the order given."""
    grouped = {family: [editor for editor in editors if family_of(editor) == family] for family in PLURAL}
    return {family: members for family, members in grouped.items() if members}


def _place(editor: str) -> tuple:
    families, kinds = list(FAMILIES), [kind for members in FAMILIES.values() for kind in members]
    family, kind = family_of(editor), kind_of(editor)
    if family is None:
        return (len(families), len(kinds), "", editor)
    own = (families.index(family), kinds.index(kind), editor)
    if wrapped := wrapped_editor(editor):
        # Those of one editor stand together.
        other = kind_of(wrapped)
        return (own[0], kinds.index(other) if other in kinds else len(kinds), wrapped, kinds.index(kind))
    return (*own, 0)
