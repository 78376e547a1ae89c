"""First looks at imagined models."""

from dataclasses import replace

from normgrowth.measure.causal_trace import Effects, average
from normgrowth.measure.depth import NormsByDepth
from normgrowth.measure.gathering import MomentText
from normgrowth.measure.trial_edits import Trial
from normgrowth.measure.vetting import Knowledge, Perplexity, Sheet, Vetted

LAYERS = 12


def scores(es, ps, ns) -> dict:
    return {"es": es, "ps": ps, "ns": ns}


def trial(editor="r_rome", es=1.0, ps=0.8, ns=0.75, **changes) -> Trial:
    """Twenty edits that went well, but for what is said."""
    went_well = Trial(editor, (3,), 20, 20, scores(es, ps, ns), change=0.1, loss=0.04, seconds=2.5, refusal=None)
    return replace(went_well, **changes)


def refused(editor: str, reason: str) -> Trial:
    """An editor that made no edit."""
    return trial(editor, None, None, None, made=0, change=None, loss=None, seconds=None, refusal=reason)


def effects(peak: int, clean=0.5, corrupted=0.1) -> Effects:
    """Effects on one fact whose MLPs carry most around a layer."""
    mlp = tuple(0.3 if layer == peak else 0.06 for layer in range(LAYERS))
    residual = tuple(0.36 if layer < 6 else 0.02 for layer in range(LAYERS))
    return Effects(clean, corrupted, residual, mlp)


def first_look(*trials: Trial, peak=3, traced=8, **changes) -> Vetted:
    """A model that knows its facts and can be edited, but for what is said."""
    return replace(
        Vetted(
            model=Sheet("GPT2LMHeadModel", LAYERS, 768, 3072, 124_000_000, ("float32",), None, 1024, post_norms=0),
            seed=0,
            knowledge=Knowledge(asked=400, said=120, scored=40, scores=scores(0.2, 0.25, 0.78)),
            perplexity=Perplexity(31.4, 9_920),
            trace=average([effects(peak)] * traced) if traced else None,
            noise=0.4,
            noise_samples=5,
            norms=NormsByDepth(*(tuple(start + layer for layer in range(LAYERS)) for start in (10.0, 20.0, 0.1))),
            default_layer=3,
            moment_text=MomentText(50_000, 0),
            unedited=scores(0.25, 0.3, 0.8),
            trials=trials or (trial(),),
        ),
        **changes,
    )
