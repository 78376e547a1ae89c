"""What finished jobs of a small study leave behind, for readers that tell its progress."""

import json

import pandas as pd

from normgrowth import layout
from normgrowth.io.columns import CHECKPOINT_TABLES
from normgrowth.io.tables import write_table

SMALL = ["models=[world-gpt2]", "segment=10", "editors=[ft, emmet]", "orders=1", "left_out={}"]
SECONDS = {"load_seconds": 1.0, "edit_seconds": 3.0, "telemetry_seconds": 0.5, "score_seconds": 0.5}


def leave_segment(folder, editor, number):
    """A finished segment of ten edits that took half a second each."""
    place = folder / f"results/demo/runs/world-gpt2/{editor}/order-0/segment-{number}"
    place.mkdir(parents=True)
    (place / "state.safetensors").touch()
    names = {"study": "demo", "model": "world-gpt2", "editor": editor, "order": 0}
    row = names | {"step": 10 * number, "segment": number, "edits": 10, "peak_memory_mb": 1.0} | SECONDS
    write_table(place / "speed.parquet", pd.DataFrame([row]), "speed")


def leave_measurement(folder, editor, step, seconds=None):
    """A measurement that is done, with Snakemake's record of its seconds unless that is lost."""
    names = {"study": "demo", "model": "world-gpt2", "editor": editor, "order": 0, "step": step}
    place, record = (folder / template.format(**names) for template in (layout.CHECKPOINT, layout.MEASURE_BENCHMARK))
    place.mkdir(parents=True)
    (place / f"{CHECKPOINT_TABLES[-1]}.parquet").touch()
    if seconds:
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({"s": 99.0}) + "\n" + json.dumps({"s": seconds}) + "\n")
