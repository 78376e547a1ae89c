"""The three families of editors that the paper compares. Light enough to import anywhere."""

FINE_TUNING = "fine-tuning"
HYPERNETWORK = "hypernetwork"
LOCATE = "locate-and-edit"

FAMILIES: dict[str, tuple[str, ...]] = {
    FINE_TUNING: ("ft", "ft_l", "lora"),
    HYPERNETWORK: ("mend", "malmen"),
    LOCATE: ("rome", "r_rome", "memit", "emmet", "pmet", "alphaedit", "encore", "nas"),
}


def family_of(editor: str) -> str | None:
    """The family of an editor of a study; None for one that the paper has no family for.

    A study may name variants of an editor as `<editor>-<variant>`.
    """
    kind = editor.split("-", 1)[0]
    return next((family for family, kinds in FAMILIES.items() if kind in kinds), None)
