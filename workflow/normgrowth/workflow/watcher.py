"""A process that ends what a run leaves behind when the run itself is killed.

    python -m normgrowth.workflow.watcher RUN

The run holds the other end of its standard input, and writes to it before it ends by itself.
"""

import os
import sys

from normgrowth.workflow import processes

PATIENCE = 60.0  # seconds; what still lives then is left to the next run


def main(run: str) -> None:
    """Wait for the end of a run, and kill its processes unless it said that it ends."""
    if not os.read(sys.stdin.fileno(), 1):
        processes.end(run, processes.allocation_of(os.environ), PATIENCE)


if __name__ == "__main__":
    main(sys.argv[1])
