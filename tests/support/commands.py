"""A small random model with facts and text in files, and every command that works on them, with arguments that do."""

import json
from pathlib import Path

from normgrowth import cli
from normgrowth.editors.settings import EditorSettings
from normgrowth.io.documents import write_json, write_text
from normgrowth.measure.measure_settings import Measure
from normgrowth.sources.toy.toy_settings import Vetting
from normgrowth.study.plan import compact
from tests.support import small_models
from tests.support.every_editor import settings_of

IDENTITY = {"study": "s", "model-name": "m", "editor-name": "e", "order": 0}
MEASURE = Measure(
    fact_probes=4, text_probes=8, text_window=16, retention_facts=3, baseline_facts=3, perplexity_tokens=64,
    untouched_facts=2, generation_facts=2, generation_tokens=6,
)  # fmt: skip


class Workbench:
    """The files, and commands on them; outputs stand in `out`."""

    def __init__(self, folder: Path, architecture: str = "gpt2", context: int = 64) -> None:
        self.folder, self.out = folder, folder / "out"
        self.model = small_models.save(architecture, folder / "model", context)
        self.facts, self.text, self.contexts = folder / "facts.json", folder / "text.txt", folder / "contexts.json"
        self.records = small_models.records()
        write_text(self.text, small_models.text())
        small_models.write_contexts(self.contexts, self.model)

    def run(self, command: str, **options: object) -> int:
        """The exit code of a command with these options besides those that it cannot do without; None takes one out."""
        write_json(self.facts, self.records)
        given = {name: value for name, value in (self._usual(command) | options).items() if value is not None}
        words = [command]
        for name, value in given.items():
            words.append(f"--{name.replace('_', '-')}")
            words += map(str, value) if isinstance(value, list | tuple) else [] if value is True else [str(value)]
        return cli.main(words)

    def edited_and_measured(self, results: Path, **names: object) -> None:
        """A run of two edits below `results`, measured before them and at its end."""
        run, measured = results / "runs/model/e/order-0", results / "measurements/model"
        assert self.run("edit", **names, chain=run) == 0
        unedited = names | {"editor-name": "unedited"}
        assert self.run("measure", **unedited, out=measured / "unedited/order-0/after-0") == 0
        step = {"step": 2, "chain": run, "segments": 1}
        assert self.run("measure", **names, **step, out=measured / "e/order-0/after-2") == 0

    def statistics(self) -> Path:
        """Second moments of every layer."""
        path = self.folder / "moments.safetensors"
        if not path.exists():
            assert self.run("statistics", layers=list(range(small_models.N_LAYERS)), out=path) == 0
        return path

    def gradient_moments(self) -> Path:
        """Moments of gradients at every layer."""
        path = self.folder / "gradients.safetensors"
        if not path.exists():
            layers = list(range(small_models.N_LAYERS))
            assert self.run("statistics", of="gradients", layers=layers, out=path) == 0
        return path

    def null_spaces(self, threshold: float) -> Path:
        """Null spaces of every layer."""
        path = self.folder / f"null-{threshold}.safetensors"
        if not path.exists():
            code = self.run("null-spaces", statistics=self.statistics(), threshold=threshold, out=path)
            assert code == 0
        return path

    def _usual(self, command: str) -> dict[str, object]:
        model, seeded = {"model": self.model}, {"seed": 0}
        order = {"facts": self.facts, **seeded}
        gathered = {"contexts": self.contexts}
        editor = {"editor": "ft", "settings": compact(settings_of("ft"))}
        checkpoint = {**IDENTITY, **model, **order, "step": 0}
        measured = {"text": self.text, "settings": compact(MEASURE)}
        return {
            "contexts": {**model, **seeded, "per_length": 1, "out": self.out / "contexts.json"},
            "statistics": {
                **model, **seeded, "text": self.text, "layers": [0, 1], "tokens": 1024, "window": 16,
                "out": self.out / "moments.safetensors",
            },
            "null-spaces": {**model, "layers": list(range(small_models.N_LAYERS))},
            "hypernetwork": {**model, **order, "reserved": 6, "out": self.out / "network"},
            "check-editable": {
                **model, **order, **gathered, "editor_settings": compact(settings_of("r_rome")),
                "settings": compact(Vetting(facts=2, es=0, ps=0, ns=0)), "out": self.out / "editability.json",
            },
            "edit": {
                **IDENTITY, **model, **order, **gathered, **editor, "segment": 1, "first": 1, "last": 2, "of": 6,
                "chain": self.out / "chain",
            },
            "single-edits": {
                **IDENTITY, **model, **order, **gathered, **editor, "edits": 2, "out": self.out / "single.parquet",
            },
            "measure": {**checkpoint, **measured, "heldout": self.text, "out": self.out / "measured"},
            "extract": {
                **checkpoint, **measured, "layers": [-1], "sites": ["residual"], "out": self.out / "vectors",
            },
            "intervene": {
                **IDENTITY, **model, **seeded, "kind": "continued_pretraining", "text": self.text,
                "settings": json.dumps({"steps": 2, "batch": 2, "window": 16}), "out": self.out / "norms.parquet",
            },
        }[command]  # fmt: skip


def as_json(settings: EditorSettings, **changes: object) -> str:
    """Settings as a command takes them."""
    return json.dumps(json.loads(compact(settings)) | changes)
