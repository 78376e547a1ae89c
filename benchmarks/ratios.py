"""The library beside the plain implementation: how many times faster, in turns on one machine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from benchmarks import plain
from benchmarks.subjects import ROWS, Subject
from benchmarks.timing import interleaved, seconds, table
from normgrowth.editors import memit, r_rome
from normgrowth.editors.moments import gather_second_moments
from normgrowth.lm.kept_weights import KeptWeights
from normgrowth.lm.model import LanguageModel
from normgrowth.measure.scores import score_facts
from normgrowth.runs.telemetry import RECOUNT, NormTelemetry

SEARCH = {"learning_rate": 0.5, "stop_loss": 0.0, "most_probable_stop": 0}
"""Every search takes all its steps, so that both sides do the same work."""

MEMIT = memit.Settings(layers=(0, 1), steps=25, preservation_weight=100.0, norm_weight=0.0, batch=100, **SEARCH)
R_ROME = r_rome.Settings(layers=(1,), steps=20, **SEARCH)


def ratios(subject: Subject, facts: int = 100, repeats: int = 3) -> str:
    """A table of seconds, plain and fast, with their ratio.

    The plain path takes its time from fewer facts, since it takes the same time for each.
    """
    lm, few = subject.lm, subject.facts[:10]
    rows = []

    def compare(what: str, plainly: Callable, plain_facts: int, fast: Callable, fast_facts: int) -> None:
        slow, quick = interleaved(repeats, plainly, fast)
        slow, quick = slow / plain_facts, quick / fast_facts
        rows.append((what, slow, quick, slow / quick))

    for name, kind, settings, chosen, plainly in (
        ("MEMIT, an edit of a batch of 100", memit, MEMIT, subject.facts[:facts], plain.memit),
        ("R-ROME, one edit", r_rome, R_ROME, subject.facts[:1], None),
    ):
        resources = subject.resources(settings.layers)
        editor = kind.build(settings)
        editor.prepare(lm, resources)
        memory = editor.begin(lm)

        def by_editor(editor=editor, memory=memory, chosen=chosen):
            with undone(lm, editor.layers):
                editor.edit(lm, dict(memory), chosen)

        def by_plain(plainly=plainly, resources=resources, settings=settings, chosen=chosen):
            with undone(lm, settings.layers):
                if plainly:
                    plainly(lm, resources, settings, few)
                else:
                    plain.r_rome(lm, resources, settings, chosen[0])

        compare(name, by_plain, len(few) if plainly else 1, by_editor, len(chosen))
    for of, score in (
        ("one prompt with one object", plain.score),
        ("a fact's prompts with both objects", plain.score_in_one_pass),
    ):
        compare(
            f"scoring, a fact; plain passes of {of}",
            lambda score=score: [score(lm, fact) for fact in few],
            len(few),
            lambda: score_facts(lm, subject.facts[:facts]),
            facts,
        )
    layers = list(range(len(lm.anatomy.blocks)))[:5]
    windows = list(subject.text.split(ROWS))[:8]
    for whole in (True, False):
        compare(
            f"statistics of {len(layers)} layers, a window; plain passes "
            + ("of the whole model" if whole else "that stop at their layer"),
            lambda whole=whole: plain.second_moments(lm, windows, layers, whole),
            len(windows) * ROWS,
            lambda: gather_second_moments(lm, windows, layers),
            len(windows) * ROWS,
        )
    return table(("seconds for", "plain", "normgrowth", "times faster"), rows)


def telemetry_share(subject: Subject, edits: int = 10) -> str:
    """Seconds of norms after every step, recounts among them, beside the edits that they follow."""
    lm, rows = subject.lm, []
    for name, kind, settings, size in (
        ("R-ROME, batch 1", r_rome, R_ROME, 1),
        ("MEMIT, batch 100", memit, MEMIT, 100),
    ):
        editor = kind.build(settings)
        editor.prepare(lm, subject.resources(settings.layers))
        memory = editor.begin(lm)
        with undone(lm, settings.layers):
            telemetry = NormTelemetry(lm, settings.layers)
            editing = following = 0.0
            for step in range(1, (edits if size == 1 else 1) + 1):
                chosen = subject.facts[(step - 1) * size : step * size]
                editing += seconds(lambda chosen=chosen: editor.edit(lm, memory, chosen))  # noqa: B023
                following += seconds(lambda step=step: telemetry.rows(step * size))  # noqa: B023
            if size < RECOUNT:  # a batch of as many has them in each step
                following += seconds(lambda: telemetry.recount(edits)) * edits / RECOUNT  # noqa: B023
        rows.append((name, editing, following, f"{100 * following / editing:.2f}%"))
    return table(("seconds for", "edits", "norms", "share"), rows)


@contextmanager
def undone(lm: LanguageModel, layers: Sequence[int]) -> Iterator[None]:
    """Let the down-projections of layers be after the block what they were before it."""
    before = KeptWeights.of(lm, layers)
    try:
        yield
    finally:
        before.put_back()
