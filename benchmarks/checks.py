"""What it costs that every file is checked by whoever reads it: time to hash all that a finished study's jobs read,
beside the time of the jobs.

    python benchmarks/checks.py results/demo

Snakemake's records in `logs/` say what each job read and how long it took. A model counts with all its files, a state
with those before it, and both as often as commands hash them.
"""

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from normgrowth.io.provenance import file_sha256

TIMES_HASHED = {".json": 2, ".txt": 2, ".jsonl": 1, ".parquet": 1, ".safetensors": 2}
"""Once for the check; text and JSON a second time for the metadata of what is made from them, tensors for theirs, or
for the hash that the next state names."""


def share_of_checks(results: Path) -> tuple[float, float, int]:
    """Seconds of hashing, seconds of jobs, and the number of jobs of the study whose results are in a folder."""
    folder = results.parent.parent
    reads, seconds, jobs = Counter(), 0.0, 0
    for record in _records(folder / "logs", results.name):
        jobs, seconds = jobs + 1, seconds + record["s"]
        for file in record.get("input_size_mb") or ():
            reads.update(path for path in _read_with(folder / file) if path.suffix in TIMES_HASHED and path.is_file())
    hashing = sum(times * TIMES_HASHED[path.suffix] * _seconds_to_hash(path) for path, times in reads.items())
    return hashing, seconds, jobs


def _records(logs: Path, study: str) -> Iterator[dict]:
    """The last record of each job."""
    for place in (logs / "resources", logs / study):
        for file in sorted(place.rglob("*.benchmark.jsonl")):
            yield json.loads(file.read_text(encoding="utf-8").splitlines()[-1])


def _read_with(path: Path) -> Iterator[Path]:
    """The files that a command reads where its rule names one."""
    if path.name == "manifest.json":
        yield from path.parent.iterdir()
    elif found := re.fullmatch(r"segment-(\d+)", path.parent.name if path.name == "state.safetensors" else ""):
        for number in range(1, int(found[1]) + 1):
            yield path.parents[1] / f"segment-{number}" / path.name
    else:
        yield path


def _seconds_to_hash(path: Path) -> float:
    began = time.perf_counter()
    file_sha256(path)
    return time.perf_counter() - began


def main(results: str) -> None:
    """Print the share in one line."""
    hashing, seconds, jobs = share_of_checks(Path(results).resolve())
    print(f"{jobs:,} jobs of {seconds:,.0f} s read what takes {hashing:.1f} s to hash: {hashing / seconds:.2%}")


if __name__ == "__main__":
    main(*sys.argv[1:])
