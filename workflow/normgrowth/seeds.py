"""Seeds of random numbers, as a function of position and never of history.

Every random choice is seeded by where it stands (study seed, model, editor, order, step, purpose), so a
run that is split, killed or continued draws the same numbers as one that is not.
"""

import hashlib


def derive(seed: int, *position: str | int) -> int:
    """A 63-bit seed for the given position under the study's seed."""
    text = "\x1f".join([str(seed), *map(str, position)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
