"""Every claim of the paper, and questions it leaves open: what is said, what is measured for it, and the rule that
decides, fixed before any run.

Source: "Norm Growth and Stability Challenges in Localized Sequential Knowledge Editing", arXiv 2502.19416. The claims
are told in our words. Where the abstract does not carry a claim, its source says so.
"""

from collections.abc import Callable
from dataclasses import dataclass

from normgrowth.claims.causes import (
    RESTORED,
    SCALED,
    growth_tracks_damage,
    imbalance_harms,
    norm_alone_harms,
    restoring_protects,
)
from normgrowth.claims.growth import growth, localized
from normgrowth.claims.performance import ability_is_lost, edits_are_lost
from normgrowth.claims.probes import norm_falls, orientation_drifts, subspace_is_left
from normgrowth.claims.verdict import Evidence, Verdict
from normgrowth.claims.whole_models import whole_model_grows
from normgrowth.families import FAMILIES, FINE_TUNING, HYPERNETWORK, LOCATE, family_of
from normgrowth.interventions.settings import CONTINUED_PRETRAINING, FULL_FINE_TUNING, LORA_FINE_TUNING

ABSTRACT = "arXiv 2502.19416, abstract"
SUMMARIES = "summaries of arXiv 2502.19416; not in its abstract"

GROWS = (
    "Effect: norm of the edited matrices at the end over the unedited norm (geometric mean over matrices "
    "and orders), with the interval of moving blocks of the increments of log norm. Supported when the "
    "interval lies above 1.01 and the norm rose in at least 8 of 10 equal parts of the run; contradicted "
    "when it lies below 1.01, or when one edited matrix surely shrank; undecided otherwise."
)

EVERY_MATRIX = "Frobenius norm of every updated weight matrix at the end of the training, relative to its start."
ALL_GROW = (
    "Effect: geometric mean over matrices, which are the units of its interval. Supported when the 95% interval lies "
    "above 1 and every updated matrix grew; contradicted when it lies below 1, or when one matrix ended below 0.99 of "
    "its start; undecided otherwise."
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
    arms: tuple[str, ...] = ()  # judged on editors that have one of these control arms only
    of_models: bool = False  # judged on all editors of a model together
    intervention: str | None = None  # judged on interventions of this kind, whose norms stand for an editor's
    needs: str = ""

    def concerns(self, evidence: Evidence) -> bool:
        """Whether the claim is judged on this editor."""
        of_family = self.family is None or family_of(evidence.editor) == self.family
        return of_family and (not self.arms or any(arm in evidence.arms for arm in self.arms))


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
            "Perplexity on held-out text over that of the unedited model on the same windows; interval of its log over "
            "windows and edit orders. Accuracies (next tokens, a cloze of facts that no edit is about, tasks of the "
            "evaluation harness where the study names any) are shown beside it."
        ),
        direction="perplexity up",
        rule=("Supported when the 95% interval lies above 1.1, contradicted when it lies below, undecided otherwise."),
        margin=1.1,
        measure=ability_is_lost,
    ),
    Claim(
        id="continued_pretraining_grows",
        title="Continued pre-training makes norms grow",
        text="Training all weights further on a domain's text raises the norm of the updated matrices.",
        source=ABSTRACT,
        measured=EVERY_MATRIX,
        direction="up",
        rule=ALL_GROW,
        margin=1.0,
        measure=whole_model_grows,
        intervention=CONTINUED_PRETRAINING,
        needs="an intervention of kind continued_pretraining in the study",
    ),
    Claim(
        id="full_fine_tuning_grows",
        title="Full fine-tuning makes norms grow",
        text="Fine-tuning all weights on a task raises the norm of the updated matrices.",
        source=ABSTRACT,
        measured=EVERY_MATRIX,
        direction="up",
        rule=ALL_GROW,
        margin=1.0,
        measure=whole_model_grows,
        intervention=FULL_FINE_TUNING,
        needs="an intervention of kind full_fine_tuning in the study",
    ),
    Claim(
        id="lora_fine_tuning_grows",
        title="LoRA fine-tuning makes norms grow",
        text=("Fine-tuning through low-rank adapters raises the norm of the adapted matrices once they are merged."),
        source=ABSTRACT,
        measured=EVERY_MATRIX + " Adapters are merged.",
        direction="up",
        rule=ALL_GROW,
        margin=1.0,
        measure=whole_model_grows,
        intervention=LORA_FINE_TUNING,
        needs="an intervention of kind lora_fine_tuning in the study",
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
            "Share of the activations' variance that the unedited model's leading principal components explain, minus "
            "the same share of the unedited activations, both on probes that the components were not drawn from; at "
            "places as for the activation norm. The mean's shift, in units of the unedited spread, stands beside it."
        ),
        direction="explained variance down",
        rule=(
            "Supported when the 95% interval of the change at the last checkpoint lies below -0.05, contradicted when "
            "it lies above, undecided otherwise."
        ),
        margin=-0.05,
        measure=subspace_is_left,
        needs="principal components of unedited and edited activations (table subspaces)",
    ),
    Claim(
        id="imbalance_harms",
        title="The imbalance is what makes edited models unstable",
        text="The uneven growth of norms is linked to instability and decline of the edited model.",
        source=ABSTRACT + ", as a possibility",
        measured=(
            "Two control arms, judged by perplexity on held-out text: the editor's edits with the norm restored after "
            "each (does holding the norm protect?), and the editor's norms without its edits (does growth alone harm?)."
        ),
        direction="decline follows the norm",
        rule=(
            "Supported when both of the next two claims are supported, contradicted when both are contradicted; "
            "undecided otherwise, and where the study lacks one of the arms."
        ),
        margin=1.1,
        measure=imbalance_harms,
        arms=(RESTORED, SCALED),
        needs="control arms norm_restored and scale_only of an editor in the study",
    ),
    Claim(
        id="restoring_norm_protects",
        title="Restoring the norm protects the model",
        text="With edited matrices scaled back to their unedited norm after each edit, edits do less damage.",
        source="beyond the paper: a control arm",
        measured=(
            "Perplexity on held-out text with the norm restored, over that of the editor itself after as many edits. S "
            "of the edited facts is shown beside it."
        ),
        direction="perplexity down",
        rule=(
            "Supported when the 95% interval of the ratio lies below 0.909 (1/1.1), contradicted when it lies above; "
            "undecided otherwise, where the editor itself raises perplexity by less than a factor 1.1, and where the "
            "model is spared because its edits are undone: where S surely ends more than 0.02 below the editor's own."
        ),
        margin=1 / 1.1,
        measure=restoring_protects,
        arms=(RESTORED,),
        needs="a control arm norm_restored of an editor in the study",
    ),
    Claim(
        id="norm_alone_harms",
        title="Growth of the norm alone harms the model",
        text="The unedited weights, scaled along an editor's norms, harm the model as its edits do.",
        source="beyond the paper: a control arm",
        measured=(
            "Perplexity on held-out text of the unedited weights scaled to the norms that the editor's run ends with, "
            "over that of the unedited model. The editor itself and random steps of the same norms stand beside it."
        ),
        direction="perplexity up",
        rule="Supported when the 95% interval lies above 1.1, contradicted when it lies below, undecided otherwise.",
        margin=1.1,
        measure=norm_alone_harms,
        arms=(SCALED,),
        needs="a control arm scale_only of an editor in the study",
    ),
    Claim(
        id="norm_growth_tracks_damage",
        title="Editors whose norms grow more do more damage",
        text="Over editors, growth of the norm and damage to the model go together.",
        source="beyond the paper: what its summaries call a correlation",
        measured=(
            "Spearman's rank correlation, over all editors of a model, of the growth of log norm with that of log "
            "perplexity at the end of the run; with S, the cloze and the activation norm beside it. It tells what goes "
            "together, not what causes what."
        ),
        direction="correlation up",
        rule=(
            "Supported when the 95% interval lies above 0, contradicted when it lies below; undecided otherwise, and "
            "with fewer than five editors."
        ),
        margin=0.0,
        measure=growth_tracks_damage,
        of_models=True,
        needs="several editors of one model",
    ),
)
