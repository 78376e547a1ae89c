"""Segments of runs on a small random model with everything in files, as the workflow would have made it."""

import json

import torch

from normgrowth import cli
from normgrowth.commands import edit as edit_command
from normgrowth.editors.settings import GRADIENT_MOMENTS, HYPERNETWORK, NULL_SPACES, TRAJECTORY
from normgrowth.jobs.command_line import parse
from normgrowth.runs.state import restore
from normgrowth.sources.loading import load_model
from tests.support import small_models
from tests.support.every_editor import innermost, kind_and_wrapped, settings_of


def settings_text(kind, **changes) -> str:
    """An editor's settings as the workflow passes them, some of them changed: those that do the editing."""
    given = inner = settings_of(kind).model_dump(mode="json")
    while isinstance(inner.get("settings"), dict):
        inner = inner["settings"]
    inner.update(changes)
    return json.dumps(given)


def arguments(world, chain, kind, segment, first, last, **overrides) -> list[str]:
    values = {
        "study": "test", "model-name": "small", "editor-name": kind, "order": 0, "segment": segment, "first": first,
        "last": last, "model": world / "model", "facts": world / "facts.json", "contexts": world / "contexts.json",
        "statistics": world / "moments.safetensors", "editor": kind_and_wrapped(kind)[0],
        "settings": settings_text(kind), "seed": 0, "chain": chain, "device": "cpu", "threads": 1,
    }  # fmt: skip
    needs = settings_of(kind).needs
    if NULL_SPACES in needs:
        values["null-spaces"] = world / "null-spaces.safetensors"
    if GRADIENT_MOMENTS in needs:
        values["gradient-moments"] = world / "gradients.safetensors"
    if HYPERNETWORK in needs:
        values["hypernetwork"] = world / f"{innermost(kind)}.safetensors"
    if TRAJECTORY in needs:
        followed = "followed" if segment == 1 else "followed-in-three"
        values["trajectory"] = world / followed / f"segment-{segment}/norms.parquet"
    return [text for name, value in {**values, **overrides}.items() for text in (f"--{name}", str(value))]


def edit(*args, **overrides) -> None:
    """Run the command in this process."""
    edit_command.run(parse(edit_command.Edit, arguments(*args, **overrides)))


def null_spaces(world, out, *more) -> int:
    of = ["--model", str(world / "model"), "--layers", *map(str, range(small_models.N_LAYERS))]
    return cli.main(["null-spaces", *of, "--statistics", str(world / "moments.safetensors"), "--out", str(out), *more])


def weights_after(world, chain, segments) -> dict[str, torch.Tensor]:
    lm = load_model(world / "model")
    restore(lm, chain, segments, {})
    return dict(lm.model.named_parameters())
