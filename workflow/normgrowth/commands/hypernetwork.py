"""Train an editor's hypernetwork on facts that no run edits."""

import argparse
from pathlib import Path

from normgrowth.commands.common import add_model, load
from normgrowth.commands.gathering import add_editor, editor_and_settings
from normgrowth.io.documents import intact


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model(parser)
    parser.add_argument("--facts", required=True, type=intact, help="facts file, a JSON list of CounterFact records")
    parser.add_argument("--reserved", required=True, type=int, help="facts kept out of all edit orders")
    parser.add_argument("--seed", required=True, type=int, help="seed of the study")
    add_editor(parser)
    parser.add_argument("--out", required=True, type=Path, help="folder for the network and its quality")


def run(arguments: argparse.Namespace) -> None:
    """Train, edit the validation facts one at a time with the result, and write both."""
    from normgrowth.editors.base import Resources
    from normgrowth.editors.hypernetwork.meta_training import Checkpoint, split, train
    from normgrowth.editors.registry import EDITORS
    from normgrowth.editors.settings import HYPERNETWORK
    from normgrowth.facts.orders import reserved_facts
    from normgrowth.facts.records import read_facts
    from normgrowth.fingerprint import closure
    from normgrowth.io.documents import write_json
    from normgrowth.io.provenance import file_sha256, provenance
    from normgrowth.io.tensors import write_tensors
    from normgrowth.lm.prompt_lengths import require_edits
    from normgrowth.measure.scores import score_single_edits
    from normgrowth.sources.manifest import revision

    kind, settings = editor_and_settings(arguments)
    facts = reserved_facts(read_facts(arguments.facts), arguments.seed, arguments.reserved)
    parts = split(facts, settings.validation_share, arguments.seed)
    lm = load(arguments)
    require_edits(lm, facts)
    identity = {
        "model": revision(arguments.model),
        "kind": arguments.editor,
        "settings": settings.model_dump(mode="json"),
        "seed": arguments.seed,
        "facts": file_sha256(arguments.facts),
        "reserved_facts": arguments.reserved,
    }
    checkpoint = arguments.out / "checkpoint.safetensors"
    # A training that other code began is not continued.
    code = closure("normgrowth.commands.hypernetwork", EDITORS[arguments.editor])
    trained = train(
        lm, kind.network(settings), parts, arguments.seed, Checkpoint(checkpoint, {**identity, "code": code})
    )

    editor = kind.build(settings)
    editor.prepare(lm, Resources({}, hypernetwork=trained.parameters))
    scores = score_single_edits(lm, editor, editor.begin(lm), parts.validation)
    quality = {
        "validation_facts": len(parts.validation),
        **{name: float(scores[name].mean()) for name in ("es", "ps", "ns")},
        "steps": trained.losses[-1][0],
        "best_validation_loss": min(loss for _, loss in trained.losses),
        "validation_losses": trained.losses,
    }
    metadata = provenance(**identity, quality=quality, device=lm.device.type, dtype="float32")
    write_tensors(arguments.out / "hypernetwork.safetensors", trained.parameters, metadata, HYPERNETWORK)
    write_json(arguments.out / "quality.json", {**identity, **quality})
    checkpoint.unlink(missing_ok=True)
