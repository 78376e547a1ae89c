"""Settings under which every editor edits the small random models, and what they need beforehand."""

import torch

from normgrowth.editors.hypernetwork.networks import input_output_widths
from normgrowth.editors.registry import EDITORS, declaration
from normgrowth.editors.settings import ControlSettings, EditorSettings, HypernetworkSettings, RemedySettings

SETTINGS = {
    "ft": {"layers": [1], "learning_rate": 5e-3},
    "ft_l": {"layers": [1], "learning_rate": 5e-3, "radius": 5e-3},
    "lora": {"layers": [1, 2], "steps": 6, "rank": 2, "dropout": 0.2},
    "locft": {"layers": [1], "batch": 2, "epochs": 6, "minibatch": 3, "learning_rate": 5e-3},
    "crispedit": {
        "layers": [1],
        "batch": 2,
        "epochs": 6,
        "minibatch": 3,
        "learning_rate": 5e-3,
        "protected_energy": 0.5,
    },
    "rome": {"layers": [1], "steps": 8},
    "r_rome": {"layers": [1], "steps": 8},
    "memit": {"layers": [0, 1], "steps": 8, "batch": 2, "preservation_weight": 1.0, "remember": "after_edit"},
    "emmet": {"layers": [1], "steps": 8, "batch": 2, "remember": "before_edit"},
    "pmet": {"layers": [1], "steps": 16, "batch": 2, "preservation_weight": 1.0, "kl_factor": 0.1, "clamp": 3.0},
    "alphaedit": {"layers": [0, 1], "steps": 8, "batch": 2, "null_space_threshold": 0.05, "norm_weight": 0.01},
    "encore": {"layers": [0, 1], "steps": 8, "batch": 2, "preservation_weight": 1.0},
    "rect": {"layers": [0, 1], "steps": 8, "batch": 2, "preservation_weight": 1.0},
    "rect_aligned": {"layers": [0, 1], "steps": 8, "batch": 2, "preservation_weight": 1.0},
    "prune": {"layers": [0, 1], "steps": 8, "batch": 2, "preservation_weight": 1.0},
    "prune_aligned": {"layers": [0, 1], "steps": 8, "batch": 2, "preservation_weight": 1.0, "threshold": "unedited"},
    "lyaplock": {"layers": [0, 1], "steps": 8, "batch": 2, "preservation_weight": 1.0, "alpha": 1.5},
    "rlsedit": {"layers": [0, 1], "steps": 8, "batch": 2, "preservation_weight": 1.0},
    "mend": {"layers": [1, 2], "rank": 4, "initial_rate": 0.1},
    "malmen": {"layers": [1, 2], "rank": 4, "initial_rate": 0.5, "batch": 2},
    "ultraedit": {"layers": [1, 2], "batch": 2, "learning_rate": 2e-3, "ridge": 0.1},
    "stableedit": {"layers": [1, 2], "batch": 2, "ridge": 0.1},
    "nas": {"layers": [1], "steps": 8, "batch": 2, "null_space_threshold": 0.05, "pilot_facts": 4, "norm_weight": 0.01},
    "mose": {"layers": [1], "steps": 8, "batch": 2},
    "evoedit": {"layers": [0, 1], "steps": 8, "batch": 2, "null_space_threshold": 0.05, "norm_weight": 0.01},
    "betaedit": {"layers": [0, 1], "steps": 8, "null_space_threshold": 0.05, "norm_weight": 0.01, "refresh": 2},
    "deltaedit": {
        "layers": [0, 1],
        "steps": 8,
        "batch": 2,
        "null_space_threshold": 0.05,
        "norm_weight": 0.01,
        "warm_up": 2,
        "deviations": 0.1,
    },
    "nse": {"layers": [0, 1], "steps": 8, "batch": 2, "preservation_weight": 1.0},
}
"""By kind. Control arms, and remedies named by their kind alone, stand around `memit`."""

WRAPPED = {
    "revive-memit": {"tau": 0.3},
    "revive-ft": {"tau": 0.3, "energy": "squares"},
    "revive-malmen": {},
    "sphere-alphaedit": {},
    "sphere-memit": {"reference": "current", "alpha": 0.6},
    "simie-r_rome": {},
    "simie-memit": {"tokens": "subject_last", "ridge": 0.5},
    "simie-ft": {},
    "blue-memit": {},
    "norm_restored-revive-memit": {},
}
"""Remedies around editors, and a control arm around a remedy, by name."""

CONTROLS = [kind for kind in sorted(EDITORS) if issubclass(declaration(kind).Settings, ControlSettings)]
REMEDIES = [kind for kind in sorted(EDITORS) if issubclass(declaration(kind).Settings, RemedySettings)]
WRITERS = [kind for kind in sorted(EDITORS) if kind not in CONTROLS + REMEDIES]
CONTROLLED = "memit"
NAMES = [*WRITERS, *CONTROLS, *WRAPPED]
"""Every editor under test: kinds, and wrappers with the editor that they stand around."""


def kind_and_wrapped(name: str) -> tuple[str, str | None]:
    """The kind that a name begins with, and the editor that it stands around."""
    kind, _, wrapped = name.partition("-")
    return kind, wrapped or (None if kind in WRITERS else CONTROLLED)


def innermost(name: str) -> str:
    """The name of the editor that edits in the end."""
    kind, wrapped = kind_and_wrapped(name)
    return innermost(wrapped) if wrapped else kind


def hypernetwork_of(name: str, lm) -> dict[str, torch.Tensor]:
    """The tensors of an untrained network: it takes a step down the gradient. Empty for other editors."""
    return untrained(innermost(name), settings_of(innermost(name)), lm)


def untrained(kind: str, settings: EditorSettings, lm) -> dict[str, torch.Tensor]:
    """The same for an editor with these settings."""
    if not isinstance(settings, HypernetworkSettings):
        return {}
    d, o = input_output_widths(lm, settings.layers)
    normalisation = {"mean": torch.zeros(d + o), "std": torch.ones(d + o)}
    return declaration(kind).network(settings).initial(d, o, 0) | normalisation


def settings_of(name: str) -> EditorSettings:
    """The settings of an editor, filled in as the workflow does."""
    kind, wrapped = kind_and_wrapped(name)
    if wrapped is None:
        return declaration(kind).Settings(**SETTINGS[kind])
    inner = settings_of(wrapped)
    return declaration(kind).Settings(**WRAPPED.get(name, {})).around(wrapped, wrapped.partition("-")[0], inner)


def build(name: str):
    """The editor with these settings."""
    return declaration(kind_and_wrapped(name)[0]).build(settings_of(name))
