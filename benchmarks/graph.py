"""How long a study's graph takes to build, and how much memory: a dry run of the paper's study with more edits.

    python benchmarks/graph.py [EDITS]

A second dry run, which is not timed, counts the jobs: the one that builds the graph and stops does not say.
"""

import re
import resource
import subprocess
import sys
import time


def main(edits: int = 6000) -> None:
    """Run Snakemake dry, and print what it took."""
    command = ["snakemake", "-n", "--configfile", "studies/paper.yaml", "--config", f"edits={edits}"]
    began = time.perf_counter()
    subprocess.run([*command, "-q"], capture_output=True, check=True)
    seconds = time.perf_counter() - began
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    listing = subprocess.run([*command, "--quiet", "rules"], capture_output=True, text=True, check=True).stdout
    jobs = int(re.findall(r"^total +(\d+)$", listing, re.MULTILINE)[0])
    print(f"{jobs:,} jobs: {seconds:.0f} s in all, {megabytes:,.0f} MB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
