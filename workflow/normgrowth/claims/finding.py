"""The answer to the study's central question in a few words: does the norm itself break the model?"""

from normgrowth.claims.verdict import Status

NORM, DIRECTION = "norm_breaks_model", "direction_breaks_model"
"""Claims that the answer is made of."""

VERBS = {
    Status.SUPPORTED: "damages the model",
    Status.NEGLIGIBLE: "hardly matters",
    Status.OPPOSITE: "protects the model",
    Status.UNDECIDED: "is undecided",
    Status.COLLAPSED: "cannot be told, for the model collapses",
}
"""What the norm or the direction does, by the verdict on its claim."""


def finding(claims: list[dict]) -> str:
    """One paragraph on what the norm and what the direction of the edited matrices do; empty without verdicts on them.

    Args:
        claims: judged claims, as claims.json holds them.
    """
    verdicts = {claim["id"]: claim["verdicts"] for claim in claims}
    norms, directions = verdicts.get(NORM, []), verdicts.get(DIRECTION, [])
    if not norms or not directions:
        return ""
    contrasts = [
        f"{norm['editor']} on {norm['model']}: norm {_factor(norm)}, direction {_factor(direction)}"
        for norm, direction in zip(norms, directions, strict=True)
    ]
    of = f" of {len(norms)} pairs of editor and model" if len(norms) > 1 else ""
    return (
        f"Does the norm itself break the model? At equal direction, the grown norm {_counted(norms, of)}; at equal "
        f"norm, the direction {_counted(directions)}. Factors of perplexity: {'; '.join(contrasts)}."
    )


def _counted(verdicts: list[dict], of: str = "") -> str:
    """What happens in how many contrasts, the most frequent first."""
    statuses = [verdict["status"] for verdict in verdicts]
    frequent = sorted(VERBS, key=lambda status: -statuses.count(status.value))
    said = [(VERBS[status], statuses.count(status.value)) for status in frequent if status.value in statuses]
    if len(verdicts) == 1:
        return said[0][0]
    return ", ".join(f"{words} in {number}{'' if place else of}" for place, (words, number) in enumerate(said))


def _factor(verdict: dict) -> str:
    """A factor with its interval: `2.43 (1.9 to 3.1)`."""
    if verdict["effect"] is None:
        return "without a finite number"
    shown = f"{verdict['effect']:.3g}"
    return shown if verdict["low"] is None else f"{shown} ({verdict['low']:.3g} to {verdict['high']:.3g})"
