"""How long a study's graph takes to build, and how much memory: a dry run of the paper's study with more edits.

python benchmarks/graph.py [EDITS]
"""

import re
import resource
import subprocess
import sys
import time


def main(edits: int = 6000) -> None:
    """Run Snakemake dry, and print what it took."""
    command = ["snakemake", "-n", "-q", "--configfile", "studies/paper.yaml", "--config", f"edits={edits}"]
    began = time.perf_counter()
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds = time.perf_counter() - began
    jobs = int(re.findall(r"^total +(\d+)$", output, re.MULTILINE)[0])
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{jobs:,} jobs: {seconds:.0f} s in all, {megabytes:,.0f} MB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
