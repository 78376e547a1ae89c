"""Stands in for the command line in tests of the graph: leaves every file that the real command would, at once."""

import sys
from pathlib import Path

MODEL_FILES = ("manifest.json", "model.safetensors", "config.json", "tokenizer.json", "figures.json")
SEGMENT_FILES = ("state.safetensors", *(f"{t}.parquet" for t in ("norms", "edits", "scores", "timing", "speed")))
CHECKPOINT_FILES = tuple(
    f"{table}.parquet"
    for table in ("scores", "activations", "subspaces", "coordinates", "cka", "spectra", "downstream", "norm_direction")
)


def outputs(command: str, given: dict[str, str]) -> list[str]:
    """The files that a command with these arguments writes."""
    match command:
        case "world":
            return [given[key] for key in ("facts", "text", "heldout", "corpus")]
        case "train":
            return [f"{given['out']}/{file}" for file in MODEL_FILES]
        case "import-model" | "import-gguf" | "fetch-model":
            return [f"{given['out']}/manifest.json"]
        case "hypernetwork":
            return [f"{given['out']}/{file}" for file in ("hypernetwork.safetensors", "quality.json")]
        case "edit":
            files = (*SEGMENT_FILES, *["stream.parquet"] * ("stream" in given))
            return [f"{given['chain']}/segment-{given['segment']}/{file}" for file in files]
        case "measure":
            return [f"{given['out']}/{file}" for file in CHECKPOINT_FILES]
        case "extract":
            return [f"{given['out']}/{given['sites']}.parquet"]
        case "draw" | "card":
            return [f"{given['out']}.{extension}" for extension in ("pdf", "svg", "png")]
        case "claims":
            return [given["out-json"], given["out-md"]]
    return [given["out"]]


if __name__ == "__main__":
    command, *words = sys.argv[1:]
    options = {word[2:]: value for word, value in zip(words, [*words[1:], ""], strict=True) if word.startswith("--")}
    for output in outputs(command, options):
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        Path(output).write_text(" ".join(sys.argv[1:]))
