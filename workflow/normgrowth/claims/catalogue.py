"""Every claim of the paper: what it says, what is measured for it, and the rule that decides, fixed before any run.

Source: "Norm Growth and Stability Challenges in Localized Sequential Knowledge Editing", arXiv 2502.19416. The claims
are told in our words. Where the abstract does not carry a claim, its source says so.
"""

from collections.abc import Callable
from dataclasses import dataclass

from normgrowth.claims.growth import growth, localized
from normgrowth.claims.performance import ability_is_lost, edits_are_lost
from normgrowth.claims.probes import norm_falls, orientation_drifts
from normgrowth.claims.verdict import Evidence, Verdict
from normgrowth.families import FAMILIES, FINE_TUNING, HYPERNETWORK, LOCATE

ABSTRACT = "arXiv 2502.19416, abstract"
SUMMARIES = "summaries of arXiv 2502.19416; not in its abstract"

GROWS = (
    "Effect: norm of the edited matrices at the end over the unedited norm (geometric mean over matrices "
    "and orders), with the interval of moving blocks of the increments of log norm. Supported when the "
    "interval lies above 1.01 and the norm rose in at least 8 of 10 equal parts of the run; contradicted "
    "when it lies below 1.01, or when one edited matrix surely shrank; undecided otherwise."
)


@dataclass(frozen=True)
class Claim:
    """One claim, and how it is decided.

    `measure` takes the evidence on one model and editor and the margin (the smallest effect that counts); it is None
    where this workflow does not measure the claim, and `needs` says what would.
    """

    id: str
    title: str
    text: str
    source: str
    measured: str
    direction: str
    rule: str = ""
    margin: float | None = None
    measure: Callable[[Evidence, float], Verdict] | None = None
    family: str | None = None  # judged on editors of this family only
    needs: str = ""


def _an_editor_of(family: str) -> str:
    return f"an editor of the {family} family ({', '.join(FAMILIES[family])}) in the study"


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="fine_tuning_edits_grow",
        title="Editing by fine-tuning makes the edited matrices' norm grow",
        text=(
            "Editing facts one after another by fine-tuning raises the Frobenius norm of the edited matrices, "
            "edit by edit."
        ),
        source=ABSTRACT,
        measured="Frobenius norm of every edited matrix after every edit.",
        direction="up",
        rule=GROWS,
        margin=1.01,
        measure=growth,
        family=FINE_TUNING,
        needs=_an_editor_of(FINE_TUNING),
    ),
    Claim(
        id="hypernetwork_edits_grow",
        title="Editing by hypernetwork makes the edited matrices' norm grow",
        text=(
            "Editing facts one after another by a trained hypernetwork raises the norm of the edited matrices, "
            "edit by edit."
        ),
        source=ABSTRACT,
        measured="Frobenius norm of every edited matrix after every edit.",
        direction="up",
        rule=GROWS,
        margin=1.01,
        measure=growth,
        family=HYPERNETWORK,
        needs=_an_editor_of(HYPERNETWORK),
    ),
    Claim(
        id="locate_edits_grow",
        title="Locate-and-edit methods make the edited matrices' norm grow",
        text=(
            "Locating a fact and writing a new one, again and again, raises the norm of the edited matrices, edit "
            "by edit."
        ),
        source=ABSTRACT,
        measured="Frobenius norm of every edited matrix after every edit.",
        direction="up",
        rule=GROWS,
        margin=1.01,
        measure=growth,
        family=LOCATE,
        needs=_an_editor_of(LOCATE),
    ),
    Claim(
        id="growth_is_localized",
        title="The growth is confined to the edited matrices",
        text=(
            "With localized edits a few matrices grow while all others stay as they were, which unbalances the model."
        ),
        source=ABSTRACT,
        measured=(
            "Frobenius norm of edited matrices, and of control matrices: every other MLP down-projection and "
            "every attention output projection."
        ),
        direction="edited up, others exactly flat",
        rule=(
            "Contradicted when any control matrix's norm changes by more than rounding (relative 1e-9). Supported "
            "when none does and the interval of the edited matrices' growth lies above 1.01; undecided "
            "otherwise."
        ),
        margin=1.01,
        measure=localized,
    ),
    Claim(
        id="activation_norm_falls",
        title="Activations shrink as edits accumulate",
        text=("The norm of internal activations falls with the number of edits, while the norm of the weights rises."),
        source=ABSTRACT,
        measured=(
            "Norm of each activation over the norm of the same activation in the unedited model, averaged over "
            "fixed probes. The paper does not say which vector, layer or text. The residual stream after the last "
            "layer on running text decides; other places are shown beside it."
        ),
        direction="down",
        rule=(
            "Supported when the 95% interval of the mean ratio at the last checkpoint lies below 0.99, "
            "contradicted when it lies above, undecided otherwise."
        ),
        margin=0.99,
        measure=norm_falls,
    ),
    Claim(
        id="orientation_drifts",
        title="Activations turn away from the unedited model's",
        text=("The direction of internal activations moves further from the unedited model's as edits accumulate."),
        source=SUMMARIES,
        measured=(
            "Cosine of each activation and the same activation in the unedited model, averaged over fixed probes; "
            "places as for the activation norm."
        ),
        direction="cosine down",
        rule=(
            "Supported when the 95% interval of the mean cosine at the last checkpoint lies below 0.99 (8 "
            "degrees), contradicted when it lies above, undecided otherwise."
        ),
        margin=0.99,
        measure=orientation_drifts,
    ),
    Claim(
        id="editing_performance_declines",
        title="Edited facts are lost again along the run",
        text="Within a long sequence of edits, performance begins to decline.",
        source=SUMMARIES,
        measured=(
            "S (harmonic mean of mean efficacy ES, paraphrase PS and neighbourhood NS scores) of edited facts at "
            "the end of the run, minus S of the same facts each just after its edit; bootstrap over facts."
        ),
        direction="down",
        rule=(
            "Supported when the 95% interval of the change lies below -0.02, contradicted when it lies above; "
            "undecided otherwise, and where S just after the edits is below 0.1 or fewer than 10 facts were scored."
        ),
        margin=-0.02,
        measure=edits_are_lost,
    ),
    Claim(
        id="general_ability_declines",
        title="General ability declines with edits",
        text="Localized sequential editing may degrade the model's general ability.",
        source=ABSTRACT + ", as a possibility",
        measured=(
            "Perplexity on held-out text over that of the unedited model; t interval of its log over edit orders."
        ),
        direction="perplexity up",
        rule=(
            "Supported when the 95% interval lies above 1.1, contradicted when it lies below, undecided "
            "otherwise. A single order gives no interval: then the ratio itself must be above 1.21 or below 1."
        ),
        margin=1.1,
        measure=ability_is_lost,
    ),
    Claim(
        id="continued_pretraining_grows",
        title="Continued pre-training makes norms grow",
        text="Training all weights further on a domain's text raises the norm of the updated matrices.",
        source=ABSTRACT,
        measured="Frobenius norm of each matrix before and after.",
        direction="up",
        needs=("a model and its continued-pre-trained descendant, compared matrix by matrix (table interventions)"),
    ),
    Claim(
        id="full_fine_tuning_grows",
        title="Full fine-tuning makes norms grow",
        text="Fine-tuning all weights on a task raises the norm of the updated matrices.",
        source=ABSTRACT,
        measured="Frobenius norm of each matrix before and after.",
        direction="up",
        needs="a model and its fully fine-tuned descendant, compared matrix by matrix (table interventions)",
    ),
    Claim(
        id="lora_fine_tuning_grows",
        title="LoRA fine-tuning makes norms grow",
        text=("Fine-tuning through low-rank adapters raises the norm of the adapted matrices once they are merged."),
        source=ABSTRACT,
        measured="Frobenius norm of each matrix before and after merging.",
        direction="up",
        needs="a model and its LoRA-tuned, merged descendant, compared matrix by matrix (table interventions)",
    ),
    Claim(
        id="imbalance_harms",
        title="The imbalance is what makes edited models unstable",
        text="The uneven growth of norms is linked to instability and decline of the edited model.",
        source=ABSTRACT + ", as a possibility",
        measured="Decline with the norm held, and with the norm grown and no edits.",
        direction="decline follows the norm",
        needs=(
            "a rule that compares control arms (norms restored after every edit, norms grown without edits, random "
            "steps of equal size) with the editors they control; a study that has arms shows both side by side"
        ),
    ),
    Claim(
        id="activations_leave_subspace",
        title="Activations leave the subspace they held",
        text=(
            "Activations of the edited model occupy a region of representation space different from the unedited "
            "model's."
        ),
        source=ABSTRACT,
        measured=(
            "Variance of edited activations that the unedited model's leading components explain; centroid shift."
        ),
        direction="explained variance down",
        needs="principal components of unedited and edited activations (table subspaces)",
    ),
)
