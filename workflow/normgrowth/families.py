"""The families of editors that the paper compares, and the control arms. Light enough to import anywhere."""

FINE_TUNING = "fine-tuning"
HYPERNETWORK = "hypernetwork"
LOCATE = "locate-and-edit"
CONTROL = "control arm"
OTHER = "other"

FAMILIES: dict[str, tuple[str, ...]] = {
    FINE_TUNING: ("ft", "ft_l", "lora"),
    HYPERNETWORK: ("mend", "malmen"),
    LOCATE: ("rome", "r_rome", "memit", "emmet", "pmet", "alphaedit", "encore", "nas"),
    CONTROL: ("norm_restored", "scale_only", "random_direction"),
}


def kind_of(editor: str) -> str:
    """The kind of an editor of a study, which may name variants as `<kind>-<variant>`."""
    return editor.split("-", 1)[0]


def family_of(editor: str) -> str | None:
    """The family of an editor of a study; None for one that the paper has no family for."""
    return next((family for family, kinds in FAMILIES.items() if kind_of(editor) in kinds), None)


def is_control(editor: str) -> bool:
    """Whether a study's editor is a control arm: claims are about the others."""
    return family_of(editor) == CONTROL


def controlled_editor(editor: str) -> str | None:
    """The editor that an arm named `<arm>-<editor>` controls; None for other names."""
    return (editor.partition("-")[2] or None) if is_control(editor) else None


def by_family(editors: list[str]) -> dict[str, list[str]]:
    """Editors in their order, by family; families without any are left out."""
    groups: dict[str, list[str]] = {}
    for family in (*FAMILIES, None):
        if mine := [editor for editor in editors if family_of(editor) == family]:
            groups[family or OTHER] = mine
    return groups


def rank(editor: str) -> tuple[int, str]:
    """Sorts editors by family and kind, those of no family last."""
    kinds = [kind for family in FAMILIES.values() for kind in family]
    return (kinds.index(kind_of(editor)) if kind_of(editor) in kinds else len(kinds), editor)
