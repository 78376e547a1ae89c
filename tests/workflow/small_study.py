"""A study that the real commands finish in a minute: a small random model, facts and text of a synthetic world."""

from pathlib import Path

from tests.support import small_models
from tests.workflow.conftest import Tree

EDITS, SEGMENT = 20, 10


def small_study(folder: Path, **values: object) -> Tree:
    """The repository in `folder`, its default study this one; `values` are keys of it."""
    folder.mkdir(parents=True)
    tree = Tree.of_repository(folder)
    (folder / "bin/normgrowth").unlink()  # the real commands
    small_models.save("gpt2", folder / "given", context=256)
    study = {
        "models": ["small"],
        "editors": ["ft", "memit"],
        "edits": EDITS,
        "segment": SEGMENT,
        "facts": "people",
        "text": "people",
        "heldout_text": "people-heldout",
        "model_sources": {"small": {"kind": "local", "path": "given"}},
        "fact_sources": {"people": {"kind": "world"}},
        "contexts": {"per_length": 1},
        "measure": {"fact_probes": 20, "text_probes": 20},
        "left_out": {},
        "more_orders": {},
        "block": None,
        "interventions": {},
        "vectors": {},
        "editor_settings": {},
        "single_edits": 0,
    }
    tree.change_config(**study | values)
    return tree
