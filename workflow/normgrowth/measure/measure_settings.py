"""Settings of measurements: the checkpoints of a run, and what is measured there.

Free of torch: planning a study reads them.
"""

from typing import Annotated, Literal

from pydantic import Field

from normgrowth.checked import Checked, Count, Window


class Measure(Checked):
    """Checkpoints along a run, and what is measured there."""

    every: Count = Field(1, description="Segments between checkpoints; the end of the run is always one.")
    curve: tuple[Count, ...] = Field(
        (),
        description="Numbers of edits, between checkpoints, after which perplexity, the cloze and edited facts are "
        "measured too, of editors whose changes are known step by step (none that trains whole matrices, as `ft`).",
    )
    fact_probes: Count = Field(100, description="Fact prompts whose activations are followed.")
    text_probes: Count = Field(64, description="Windows of text whose activations are followed.")
    text_window: Window = Field(64, description="Tokens in one window, of probes and of text for perplexity.")
    retention_facts: Count = Field(200, description="Edited facts scored again; all of them where there are fewer.")
    baseline_facts: Count = Field(100, description="Facts scored on the unedited model.")
    perplexity_tokens: Count = Field(10_000, description="Tokens of held-out text.")
    untouched_facts: Annotated[int, Field(ge=0)] = Field(
        100,
        description="Facts at the end of the edit order that are scored though no edit is about them, and asked "
        "for in the cloze.",
    )
    generation_facts: Annotated[int, Field(ge=0)] = Field(
        40, description="Of the edited facts scored, those that the model is also let go on freely about."
    )
    generation_tokens: Count = Field(40, description="Tokens of each free text, for its entropy.")
    arms: Literal["none", "primary", "all"] = Field(
        "primary",
        description="Altered weights that tell the norm's effect from the direction's: none, the two by two of norm "
        "and direction, or all arms.",
    )
    components: Count = Field(10, description="Principal components that make up a subspace of activations.")
    singular_values: Count = Field(8, description="Leading singular values of every watched matrix.")
