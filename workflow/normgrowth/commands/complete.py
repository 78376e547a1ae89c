"""Let a model go on with prompts before and after a study's edits, side by side."""

import sys
from collections.abc import Iterator

from pydantic import Field

from normgrowth.checked import Count
from normgrowth.jobs.of_edited_model import OfEditedModel

ASK = "> "


class Complete(OfEditedModel):
    """The model, the prompts, and how far to go on."""

    prompt: tuple[str, ...] = Field((), description="prompts (default: lines of the input, until it ends)")
    tokens: Count = Field(20, description="tokens to go on by")


def run(job: Complete) -> None:
    """Print what follows each prompt, greedily, by the unedited model and by the edited one.

    Raises:
        ModelError: when a prompt is longer than the model's context.
    """
    # torch: kept out of --help
    from normgrowth.lm.completion import completion
    from normgrowth.runs.edited_models import edited

    chosen = job.run()
    facts = chosen.facts() or []
    lm = job.load(chosen)
    names = "unedited", f"after {chosen.step} edits by {job.editor}"
    width = max(map(len, names))
    with edited(lm, chosen) as model:
        if not job.prompt and facts:
            print(f"One of the edits: {facts[-1].question} -> {facts[-1].target_new}", file=sys.stderr)
        for prompt in job.prompt or _lines():
            with model.undone():
                before = completion(lm, prompt, job.tokens)
            after = completion(lm, prompt, job.tokens)
            print(prompt)
            for name, text in zip(names, (before, after), strict=True):
                print(f"  {name:{width}}  {' '.join(text.split())}", flush=True)


def _lines() -> Iterator[str]:
    """Lines of the input that are not blank; a person at a terminal is asked for them."""
    person = sys.stdin.isatty()
    while True:
        try:
            line = input(ASK if person else "")
        except EOFError:
            return
        if line.strip():
            yield line
