"""A whole small study made by the real commands, one process, in a folder: the files that each command reads, and calls
of the commands that read them."""

import contextlib
import io
import json
from pathlib import Path

import pytest

from normgrowth import cli
from normgrowth.editors import moments
from normgrowth.editors.hypernetwork import meta_training
from normgrowth.io.documents import write_json, write_text
from normgrowth.study.plan import compact
from tests.support import small_models
from tests.support.commands import MEASURE
from tests.support.every_editor import settings_of

KILLED = 130
RESERVED = 4
"""Facts that train hypernetworks."""

NETWORK = "hypernetwork.safetensors"
EDITORS = ("memit", "ft")
SEGMENTS, CHECKPOINTS = 2, (0, 2, 4)
TABLES = ("norms", "edits", "scores", "speed", "activations", "subspaces", "downstream")
TABLES += ("norm_direction",)
FIGURES = ("norm_against_edits", "perplexity_against_edits")
SMALL = {"fact_probes": 2, "text_probes": 4, "perplexity_tokens": 32, "generation_facts": 1, "retention_facts": 2}
TRAINING = {"layers": [1, 2], "rank": 4, "initial_rate": 0.05, "training_steps": 4, "validate_every": 2}
TRAINING |= {"validation_share": 0.34, "edits_per_step": 1}
WORLD = {
    "subjects": 24, "relations": 2, "objects_per_relation": 2, "fewest_relations": 2, "most_relations": 2,
    "repetitions": 1, "text_characters": 1000, "heldout_characters": 1000,
}  # fmt: skip
TINY = {
    "architecture": "gpt2", "layers": 2, "width": 16, "heads": 2, "vocabulary": 400, "batch": 2, "token_budget": 2000,
    "evaluate_every": 1000, "recall_bar": 0, "paraphrase_bar": 0, "margin": 0,
}  # fmt: skip


def run(*words: object) -> tuple[int, str]:
    """The exit code of a command, run in this process, and what it wrote to stderr."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = cli.main([str(word) for word in words])
    return code, errors.getvalue()


class Results:
    """The folder of a study called `study`, with models and data drawn under `seed`."""

    def __init__(self, folder: Path, study: str, seed: int) -> None:
        self.folder, self.study, self.seed = folder, study, seed
        self.model, self.resources, self.results = folder / "model", folder / "resources", folder / "results"
        self.other_model = folder / "other-model"
        self.facts, self.text = self.resources / "facts.json", self.resources / "text.txt"
        self.contexts = self.resources / "contexts.json"
        self.moments = self.resources / "layers-0-1.safetensors"
        self.gradients = self.resources / "gradients-0-1.safetensors"
        self.spaces = self.resources / "null-spaces-0-1.safetensors"
        self.network = self.resources / "mend"

    def make(self) -> "Results":
        """Make every file, in the order of the workflow."""
        small_models.save("gpt2", self.model, seed=self.seed)
        small_models.save("gpt2", self.other_model, seed=self.seed + 1)
        self._make_data()
        self._do(self.sampling(self.contexts))
        self._do(self.sampling(self.resources / "contexts-of-2.json", seed=2))
        for path, layers in ((self.moments, [0, 1]), (self.resources / "layers-1.safetensors", [1])):
            self._do(self.gathering(path, layers))
        self._do(self.gathering(self.gradients, [0, 1], "gradients"))
        self._do(self.decomposing(self.spaces))
        self._do(self.decomposing(self.resources / "null-spaces-1.safetensors", "layers-1.safetensors", [1]))
        for kind in ("mend", "malmen"):
            self._do(self.training_a_network(self.resources / kind, kind))
        for model in (self.model, self.other_model):
            self._do(self.vetting(model))
        for editor in EDITORS:
            for segment in (1, 2):
                self._do(self.editing(editor, segment, self.chain(editor)))
            self._do(self.editing_one_by_one(editor, self.results / f"single-edits/m/{editor}.parquet"))
            for step in CHECKPOINTS[1:]:
                self._do(self.measuring(editor, step, self.measured(editor, step)))
        self._do(self.measuring("unedited", 0, self.measured("unedited", 0)))
        for name in ("on", "off"):
            self._do(self.intervening(name, self.results / f"interventions/m/{name}.parquet"))
        for table in (*TABLES, "single_edits", "interventions"):
            self._do(self.collecting(table, self.results / f"tables/{table}.parquet"))
        for figure in FIGURES:
            self._do(self.drawing(figure, self.results / "figures" / figure))
        self._do(self.judging(self.results))
        self._do(self.noting(self.results))
        self._leave_unfinished()
        return self

    def _leave_unfinished(self) -> None:
        """What jobs leave that are killed while they gather second moments or train a hypernetwork."""
        gather, save = moments.gather_second_moments, meta_training._Loop.save

        def gather_a_batch(lm, batches, layers, sums, keep, of):
            return gather(lm, batches, layers, sums, lambda sums: (keep(sums), _stop()), of)

        def save_once(*given):
            save(*given)
            _stop()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("normgrowth.commands.statistics.SECONDS_BETWEEN_COPIES", -1.0)
            patch.setattr(moments, "gather_second_moments", gather_a_batch)
            patch.setattr(meta_training._Loop, "save", save_once)
            assert run(*self.gathering(self.resources / "moments.safetensors", [0, 1]))[0] == KILLED
            assert run(*self.training_a_network(self.resources / "unfinished"))[0] == KILLED

    def _do(self, words: list) -> None:
        code, errors = run(*words)
        assert code == 0, f"{words}: {errors}"

    def _make_data(self) -> None:
        records = [{**record, "case_id": record["case_id"] + 100 * self.seed} for record in small_models.records()]
        write_json(self.folder / "records.json", records)
        write_text(self.folder / "raw.txt", f"Text {self.seed}.\n\n{small_models.text()}")
        self._do(["import-facts", "--path", self.folder / "records.json", "--out", self.facts])
        self._do(["import-facts", "--path", self.folder / "records.json", "--limit", 4, "--out", self.few_facts])
        for name in ("text.txt", "heldout.txt"):
            self._do(["import-text", "--paths", self.folder / "raw.txt", "--out", self.resources / name])
        for number, name in enumerate(("world", "other")):
            settings = json.dumps({**WORLD, "seed": 10 * self.seed + number})
            files = {part: self.resources / name / f"{name}-{part}" for part in ("facts", "text", "heldout", "corpus")}
            self._do(["world", "--settings", settings, *(w for p, f in files.items() for w in (f"--{p}", f))])

    @property
    def few_facts(self) -> Path:
        """Facts of another source."""
        return self.resources / "few-facts.json"

    def chain(self, editor: str) -> Path:
        """The folder of an editor's run."""
        return self.results / f"runs/m/{editor}/order-0"

    def measured(self, editor: str, step: int) -> Path:
        """The folder of a checkpoint."""
        return self.results / f"measurements/m/{editor}/order-0/after-{step}"

    def world(self, part: str) -> Path:
        """A file of the world that models are trained on."""
        return self.resources / "world" / f"world-{part}"

    # Calls of commands: words of the command line, the outputs where they are told.

    @property
    def _on_model(self) -> list:
        return ["--model", self.model, "--device", "cpu"]

    @property
    def _seeded(self) -> list:
        return ["--seed", 0, "--facts", self.facts]

    def _named(self, editor: str) -> list:
        return ["--study", self.study, "--model-name", "m", "--editor-name", editor, "--order", 0]

    def training(self, out: Path) -> list:
        """Train a whole model on the world."""
        parts = [word for part in ("corpus", "facts", "heldout") for word in (f"--{part}", self.world(part))]
        return ["train", "--settings", json.dumps(TINY), *parts, "--out", out]

    def sampling(self, out: Path, seed: int = 0) -> list:
        """Sample context templates."""
        return ["contexts", *self._on_model, "--seed", seed, "--per-length", 1, "--out", out]

    def gathering(self, out: Path, layers: list[int], of: str = "keys") -> list:
        """Gather second moments, of keys or of gradients."""
        numbers = ["--layers", *layers, "--tokens", 1024, "--window", 16, "--seed", 0]
        return ["statistics", *self._on_model, "--text", self.text, *numbers, "--of", of, "--out", out]

    def decomposing(self, out: Path, of: str = "layers-0-1.safetensors", layers: tuple = (0, 1)) -> list:
        """Find null spaces."""
        given = ["--statistics", self.resources / of, "--threshold", small_models.THRESHOLD]
        return ["null-spaces", "--model", self.model, "--layers", *layers, *given, "--out", out]

    def training_a_network(self, out: Path, kind: str = "mend") -> list:
        """Train a hypernetwork."""
        settings = ["--editor", kind, "--settings", json.dumps(TRAINING)]
        return ["hypernetwork", *self._on_model, *self._seeded, "--reserved", RESERVED, *settings, "--out", out]

    def _editor(self, editor: str) -> list:
        of = {"mend": TRAINING}.get(editor) or json.loads(compact(settings_of(editor)))
        given = ["--editor", editor, "--settings", json.dumps(of), "--contexts", self.contexts]
        needed = {"memit": ["--statistics", self.moments], "mend": ["--hypernetwork", self.network / NETWORK]}
        needed |= {"alphaedit": [*needed["memit"], "--null-spaces", self.spaces]}
        needed |= {"crispedit": [*needed["memit"], "--gradient-moments", self.gradients]}
        return [*given, *needed.get(editor, []), *(["--reserved", RESERVED] if editor == "mend" else [])]

    def vetting(self, model: Path) -> list:
        """Check that a model can be edited."""
        bars = ["--settings", json.dumps({"facts": 1, "es": 0, "ps": 0, "ns": 0})]
        settings = ["--editor-settings", compact(settings_of("r_rome"))]
        resources = self.resources if model == self.model else self.resources / "of-other"
        if model == self.other_model:
            self._do(
                ["contexts", "--model", model, "--seed", 0, "--per-length", 1, "--out", resources / "contexts.json"]
            )
            words = self.gathering(resources / self.moments.name, [0, 1])
            self._do([model if word == self.model else word for word in words])
        given = ["--contexts", resources / "contexts.json", "--statistics", resources / self.moments.name]
        out = ["--out", model / "editability.json"]
        return ["check-editable", "--model", model, *self._seeded, *given, *settings, *bars, *out]

    def editing(self, editor: str, segment: int, chain: Path) -> list:
        """Edit a segment of two facts."""
        place = ["--segment", segment, "--first", 2 * segment - 1, "--last", 2 * segment, "--chain", chain]
        followed = [] if editor != "scale_only" else ["--trajectory", self.chain("memit") / "segment-1/norms.parquet"]
        words = [*self._named(editor), *self._on_model, *self._seeded, *self._editor(editor), *followed, *place]
        return ["edit", *words]

    def editing_one_by_one(self, editor: str, out: Path, count: int = 2) -> list:
        """Edit two facts, each alone."""
        words = [*self._named(editor), *self._on_model, *self._seeded, *self._editor(editor)]
        return ["single-edits", *words, "--edits", count, "--out", out]

    def measuring(self, editor: str, step: int, out: Path) -> list:
        """Measure a checkpoint."""
        words = [*self._named(editor), *self._on_model, *self._seeded, "--text", self.text]
        words += ["--heldout", self.resources / "heldout.txt", "--step", step]
        words += ["--settings", compact(MEASURE.model_copy(update=SMALL))]
        words += ["--chain", self.chain(editor), "--segments", step // 2] if step else []
        return ["measure", *words, "--out", out]

    def intervening(self, name: str, out: Path) -> list:
        """Train the whole model on."""
        settings = json.dumps({"steps": 2, "batch": 2, "window": 16})
        given = ["--kind", "continued_pretraining", "--text", self.text, "--settings", settings, "--seed", 0]
        return ["intervene", *self._named(name), *self._on_model, *given, "--out", out]

    def collecting(self, table: str, out: Path) -> list:
        """Put a table together."""
        chains = [f"m/{name}/0" for name in (("on", "off") if table == "interventions" else EDITORS)]
        numbers = ["--segments", SEGMENTS, "--checkpoints", *CHECKPOINTS]
        of = ["--study", self.study, "--results", self.results, "--chains", *chains]
        return ["collect", "--table", table, *of, *numbers, "--out", out]

    def drawing(self, figure: str, prefix: Path) -> list:
        """Draw a figure."""
        return ["draw", "--figure", figure, *self._tables, "--style", '{"dpi": 50}', "--out", prefix]

    def judging(self, out: Path) -> list:
        """Judge the claims."""
        return ["claims", *self._tables, "--out-json", out / "claims.json", "--out-md", out / "claims.md"]

    def noting(self, out: Path) -> list:
        """Write down what the results were made from."""
        given = ["--study", json.dumps({"study": self.study}), "--models", self.model, "--facts", self.facts]
        given += ["--text", self.text, "--heldout", self.resources / "heldout.txt", "--contexts", self.contexts]
        given += ["--statistics", self.moments, "--null-spaces", self.spaces, "--hypernetwork", self.network / NETWORK]
        return ["provenance", *given, "--figures", self.model / "editability.json", "--out", out / "provenance.json"]

    def reporting(self, out: Path) -> list:
        """Write the report."""
        given = ["--study", self.study, "--results", self.results, "--figures", *FIGURES]
        return ["report", *given, "--out", out / "report.html"]

    @property
    def _tables(self) -> list:
        return ["--study", self.study, "--tables", self.results / "tables"]


def _stop() -> None:
    raise KeyboardInterrupt
