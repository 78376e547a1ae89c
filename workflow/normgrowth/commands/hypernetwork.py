"""Train an editor's hypernetwork on facts that no run edits."""

from pathlib import Path

from pydantic import Field

from normgrowth.editors.registry import EDITORS
from normgrowth.editors.settings import HypernetworkSettings
from normgrowth.errors import StudyError
from normgrowth.facts.orders import reserved_facts
from normgrowth.facts.records import read_facts
from normgrowth.fingerprint import closure
from normgrowth.io.documents import write_json
from normgrowth.io.provenance import file_sha256, provenance
from normgrowth.jobs.job import Intact
from normgrowth.jobs.on_model import OnModel
from normgrowth.jobs.with_editor import WithEditor
from normgrowth.sources.manifest import revision


class Hypernetwork(OnModel, WithEditor):
    """An editor with a hypernetwork, and the facts that it is trained on."""

    facts: Intact = Field(description="facts file, a JSON list of CounterFact records")
    reserved: int = Field(description="facts kept out of all edit orders")
    seed: int = Field(description="seed of the study")
    out: Path = Field(description="folder for the network and its quality")


def run(job: Hypernetwork) -> None:
    """Train, edit the validation facts one at a time with the result, and write both."""
    # torch: kept out of planning and of --help
    from normgrowth.editors.base import Resources
    from normgrowth.editors.hypernetwork.meta_training import Checkpoint, split, train
    from normgrowth.editors.settings import HYPERNETWORK
    from normgrowth.io.tensors import write_tensors
    from normgrowth.lm.prompt_lengths import require_edits
    from normgrowth.measure.scores import score_single_edits

    kind, settings = job.declaration, job.settings
    if not isinstance(settings, HypernetworkSettings):
        raise StudyError(f"{job.editor} has no hypernetwork to train")
    facts = reserved_facts(read_facts(job.facts), job.seed, job.reserved)
    parts = split(facts, settings.validation_share, job.seed)
    lm = job.load()
    require_edits(lm, facts)
    identity = {
        "model": revision(job.model),
        "kind": job.editor,
        "settings": settings.model_dump(mode="json"),
        "seed": job.seed,
        "facts": file_sha256(job.facts),
        "reserved_facts": job.reserved,
    }
    # A training that other code began is not continued.
    code = closure("normgrowth.commands.hypernetwork", EDITORS[job.editor])
    begun = Checkpoint(job.out / "checkpoint.safetensors", {**identity, "code": code})
    trained = train(lm, kind.network(settings), parts, job.seed, begun)

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
    write_tensors(job.out / "hypernetwork.safetensors", trained.parameters, metadata, HYPERNETWORK)
    write_json(job.out / "quality.json", {**identity, **quality})
    begun.path.unlink(missing_ok=True)
