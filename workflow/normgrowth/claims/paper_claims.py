"""Claims of the paper, and questions it leaves open: text, measure and rule of each, fixed before a study runs.

Reasons for the margins, and those that changed after results were seen: docs/measurements.md.

Source: "Norm Growth and Stability Challenges in Localized Sequential Knowledge Editing", arXiv 2502.19416. The claims
are paraphrased. Where a claim is not in the abstract, its source says so.
"""

from normgrowth.claims.causes import RESTORED, SCALED, imbalance_harms, norm_alone_harms, restoring_protects
from normgrowth.claims.claim import Claim, EditingClaim, EditingMeasure, TrainingClaim
from normgrowth.claims.growth import growth, imbalance, localized, rises_edit_by_edit, whole_model_grows
from normgrowth.claims.norm_or_direction import damage_behind_norm, direction_harms, norm_harms, norm_harms_more
from normgrowth.claims.performance import ability_is_lost, editing_gets_worse, edits_are_lost
from normgrowth.claims.probes import norm_falls, orientation_drifts, subspace_is_left
from normgrowth.claims.tracking import growth_tracks_damage
from normgrowth.claims.verdict import DOWN, UP, Rule
from normgrowth.editors.families import FAMILIES, FINE_TUNING, HYPERNETWORK, LOCATE
from normgrowth.training.training_settings import CONTINUED_PRETRAINING, FULL_FINE_TUNING, LORA_FINE_TUNING

ABSTRACT = "arXiv 2502.19416, abstract"
SUMMARIES = "summaries of arXiv 2502.19416; not in its abstract"

GROWTH = Rule(UP, 1.01, 1 / 1.01)
"""Rule for growth: a norm that ends within one per cent of its start has not grown."""

TRAINING = Rule(UP, 1.0, 1.0, zone=(1 / 1.01, 1.01))
"""Rule for training of whole models: the paper says that norms grow, not by how much, so the direction decides."""

HARM = Rule(UP, 1.1, 1 / 1.1)
"""Rule for harm: perplexity rises by a tenth."""

PROTECTION = Rule(DOWN, 1 / 1.1, 1.1)
"""Rule for protection: perplexity is lower by the same factor as in `HARM`."""

PART = Rule(UP, 1.001, 1 / 1.001, zone=(1 / 1.1, 1.1))
"""Rule for a part of the damage: its direction decides, and a factor below 1.1 is too small to count.

A factor of less than a thousandth has no direction: rounding and the small constants inside norms give as much."""

SIX_ORDERS = "at least six edit orders of an editor, and `measure.arms`"

SIGN_FLIPS = (
    "Judged where an editor has six or more edit orders: the order is the unit, an exact sign-flip test over orders "
    "decides the direction together with the interval, and runs with fewer orders are shown without a verdict."
)

TWO_BY_TWO = (
    "Log perplexity of held-out text at the last checkpoint, of four models: unedited, edited, unedited matrices "
    "scaled to the norm of the edited ones, and edited matrices scaled back to the unedited norm."
)

PLACES = (
    "On running text, at every site of the model (residual stream, MLP output, attention output, MLP key) and three "
    "depths where they differ (last layer, last edited layer, halfway between), since the paper does not say which "
    "activations it means; places that edits cannot reach are left out."
)


def _grows(name: str, family: str, how: str, does: str) -> EditingClaim:
    """The claim that the norm grows, for one family of editors."""
    return EditingClaim(
        id=f"{name}_edits_grow",
        title=f"{how} the edited matrices' norm grow",
        text=f"{does} raises the Frobenius norm of the edited matrices.",
        source=ABSTRACT,
        measured="Frobenius norm of every edited matrix at the end of each edit order over its unedited norm, exact.",
        effect="geometric mean over matrices of the final ratio, by its logarithm over edit orders",
        rule=GROWTH,
        measure=growth,
        special=(
            "Opposite also where one edited matrix surely shrank that much, since norms are said to grow invariably."
        ),
        family=family,
        needs=f"an editor of the {family} family ({', '.join(FAMILIES[family])}) in the study",
    )


def _trained(kind: str, title: str, text: str, beside: str = "") -> TrainingClaim:
    """The claim that norms grow when a whole model is trained on, for one kind of training."""
    return TrainingClaim(
        id=f"{kind}_grows",
        title=title,
        text=text,
        source=ABSTRACT,
        measured=f"Frobenius norm of every updated weight matrix at the end of the training, over its start.{beside}",
        effect="geometric mean over matrices, whose units are training runs of several seeds",
        rule=TRAINING,
        measure=whole_model_grows,
        intervention=kind,
        needs=f"an intervention of kind {kind} in the study",
    )


def _part(name: str, title: str, text: str, effect: str, measure: EditingMeasure) -> EditingClaim:
    """A claim about the norm's and the direction's parts of the damage."""
    return EditingClaim(
        id=name,
        title=title,
        text=text,
        source="beyond the paper: norm and direction exchanged",
        measured=TWO_BY_TWO,
        effect=effect,
        rule=PART,
        measure=measure,
        special=SIGN_FLIPS,
        needs=SIX_ORDERS,
    )


CLAIMS: tuple[Claim, ...] = (
    _grows(
        "fine_tuning", FINE_TUNING, "Editing by fine-tuning makes", "Editing facts one after another by fine-tuning"
    ),
    _grows(
        "hypernetwork",
        HYPERNETWORK,
        "Editing by hypernetwork makes",
        "Editing facts one after another by a trained hypernetwork",
    ),
    _grows("locate", LOCATE, "Locate-and-edit methods make", "Locating a fact and writing a new one, again and again,"),
    EditingClaim(
        id="norms_rise_edit_by_edit",
        title="Norms rise edit by edit",
        text="Each edit adds to the norm: it rises after calls of the editor far more often than it falls.",
        source=ABSTRACT + ' ("invariably")',
        measured=(
            "Mean log norm of the edited matrices after every call of the editor; calls that change it by less than "
            "1e-9 are left out."
        ),
        effect="share of calls after which the norm had risen, by an exact sign test",
        rule=Rule(UP, 0.5, 0.5, zone=(0.4, 0.6)),
        measure=rises_edit_by_edit,
        of_orders=False,
        special=(
            "Too short with fewer than six calls. Calls are the units, taken as independent, those of all edit orders "
            "together. Whether the norm rose after every single call stands in the reading."
        ),
    ),
    EditingClaim(
        id="growth_is_localized",
        title="The growth is confined to the edited matrices",
        text="With localized edits a few matrices grow while all others stay as they were, which unbalances the model.",
        source=ABSTRACT,
        measured=(
            "Frobenius norm of edited matrices, and of control matrices: every other MLP down-projection and every "
            "attention output projection. All of it is exact."
        ),
        effect="least of all orders' geometric means of the edited matrices' ratios",
        rule=GROWTH,
        measure=localized,
        special=(
            "Opposite when any control matrix's norm changes by more than rounding (relative 1e-9), negligible when "
            "none does but the edited matrices did not grow either."
        ),
    ),
    EditingClaim(
        id="edited_layers_outgrow",
        title="Edited layers outgrow the others",
        text="The uneven growth leaves the edited layers with far larger norms than the others.",
        source=ABSTRACT,
        measured=(
            "Geometric mean norm of the edited matrices at the end over the largest, and over the smallest, of the "
            "same kind of matrix in all other layers. The ratio to the others' mean, before and at the end, stands "
            "beside it."
        ),
        effect="edited layers' norm over the largest of the other layers at the end",
        rule=Rule(UP, 1.0),
        measure=imbalance,
        special=(
            "Supported only where the ratio to the others' mean also rose beyond 1.01; opposite, not negligible, where "
            "edited layers end below the smallest of the others. Too short with a single other layer."
        ),
    ),
    EditingClaim(
        id="activation_norm_falls",
        title="Activations shrink as edits accumulate",
        text="The norm of internal activations falls with the number of edits, while the norm of the weights rises.",
        source=ABSTRACT,
        measured=f"Mean norm of activations over the mean norm of the same ones in the unedited model. {PLACES}",
        effect="ratio of mean norms at the last checkpoint",
        rule=Rule(DOWN, 0.99, 1 / 0.99),
        measure=norm_falls,
    ),
    EditingClaim(
        id="orientation_drifts",
        title="Activations turn away from the unedited model's",
        text="The direction of internal activations moves further from the unedited model's as edits accumulate.",
        source=SUMMARIES,
        measured=f"Cosine of each activation and the same activation in the unedited model. {PLACES}",
        effect="mean cosine at the last checkpoint; 0.99 is 8 degrees",
        rule=Rule(DOWN, 0.99),
        measure=orientation_drifts,
    ),
    EditingClaim(
        id="activations_leave_subspace",
        title="Activations move into a different region",
        text="Activations of the edited model occupy a completely different region of representation space.",
        source=ABSTRACT,
        measured=(
            "Share of the residual stream's variance that the unedited model's leading principal components explain, "
            "on probes that the components were not drawn from, about the activations' own mean and about the "
            "unedited mean, where a mere shift counts too; at three depths."
        ),
        effect=(
            "way from the unedited share (0) to that of a subspace independent of the unedited one (1), which is k / d"
        ),
        rule=Rule(UP, 0.5, zone=(-0.1, 0.1)),
        measure=subspace_is_left,
        needs="principal components of unedited and edited activations (table subspaces)",
    ),
    EditingClaim(
        id="editing_performance_declines",
        title="Edited facts are lost again along the run",
        text="What was edited early in a long sequence of edits is lost by its end.",
        source=SUMMARIES,
        measured=(
            "Mean of efficacy ES and paraphrase score PS of each edited fact at the end of the run, minus the same "
            "just after its edit. NS, which is about other facts, and S stand beside it."
        ),
        effect="mean change of the mean of ES and PS",
        rule=Rule(DOWN, -0.02, 0.02, zone=(-0.1, 0.1)),
        measure=edits_are_lost,
        special="Too short with fewer than ten facts; not measured where hardly any edit took.",
    ),
    EditingClaim(
        id="editing_gets_worse",
        title="Editing itself gets worse along the run",
        text="Within a long sequence of edits, performance begins to decline: later edits succeed less.",
        source=SUMMARIES,
        measured=(
            "Mean of ES, PS and NS of facts just after their own edit, averaged over the facts of each call of the "
            "editor, against the step of the call. Random orders of calls give a test that a call's score does not "
            "depend on its place."
        ),
        effect="change from the first edit to the last along a straight line",
        rule=Rule(DOWN, 0.0, 0.0, zone=(-0.2, 0.2)),
        measure=editing_gets_worse,
        special=(
            "One edit order: random orders of calls decide the direction; several: their interval does. Too short "
            "with fewer than ten facts, or with fewer than six calls in one order, four in each of several."
        ),
    ),
    EditingClaim(
        id="general_ability_declines",
        title="General ability declines with edits",
        text="Localized sequential editing may degrade the model's general ability.",
        source=ABSTRACT + ", as a possibility",
        measured=(
            "Perplexity on held-out text over that of the unedited model on the same windows. Accuracies (next "
            "tokens, a cloze of facts that no edit is about, tasks of the evaluation harness where the study names "
            "any) stand beside it."
        ),
        effect="ratio of perplexities, by its logarithm over windows and edit orders",
        rule=HARM,
        measure=ability_is_lost,
    ),
    _trained(
        CONTINUED_PRETRAINING,
        "Continued pre-training makes norms grow",
        "Training all weights further on a domain's text raises the norm of the updated matrices.",
    ),
    _trained(
        FULL_FINE_TUNING,
        "Full fine-tuning makes norms grow",
        "Fine-tuning all weights on a task raises the norm of the updated matrices.",
    ),
    _trained(
        LORA_FINE_TUNING,
        "LoRA fine-tuning makes norms grow",
        "Fine-tuning through low-rank adapters raises the norm of the adapted matrices once they are merged.",
        " Adapters are merged.",
    ),
    _part(
        "norm_breaks_model",
        "The norm itself breaks the model",
        "At equal direction of the edited matrices, their grown norm damages the model.",
        "factor of perplexity by the norm, averaged over the two directions",
        norm_harms,
    ),
    _part(
        "direction_breaks_model",
        "What the matrices turn into breaks the model",
        "At equal norm, the direction into which edits turn the matrices damages the model.",
        "factor of perplexity by the direction, averaged over the two norms",
        direction_harms,
    ),
    _part(
        "norm_breaks_more",
        "The norm does more damage than the direction",
        "Of the two, the norm is the larger part of the damage.",
        "factor of perplexity by the norm over that by the direction",
        norm_harms_more,
    ),
    EditingClaim(
        id="damage_where_norm_cannot_matter",
        title="Models break where the norm cannot matter",
        text="A model that norms what its MLPs give breaks too, though their matrices' scale has no effect there.",
        source="beyond the paper: a natural experiment",
        measured=(
            "Perplexity on held-out text over that of the unedited model, of models with a norm between MLP and "
            "residual stream. The effect of scaling the matrices stands beside it."
        ),
        effect="ratio of perplexities",
        rule=HARM,
        measure=damage_behind_norm,
        needs="a model with a norm behind its MLPs, and `measure.arms`",
    ),
    EditingClaim(
        id="imbalance_harms",
        title="The imbalance is what makes edited models unstable",
        text="The uneven growth of norms is linked to instability and decline of the edited model.",
        source=ABSTRACT + ", as a possibility",
        measured=(
            "Two control arms, judged by perplexity on held-out text: the editor's edits with the norm restored after "
            "each (does holding the norm protect?), and the editor's norms without its edits (does growth alone "
            "harm?)."
        ),
        effect="perplexity with the norm restored over the editor's own, as in the first of the next two claims",
        rule=PROTECTION,
        measure=imbalance_harms,
        special=(
            "The next two claims must both be supported, both opposite or both negligible; where they differ nothing "
            "is decided."
        ),
        arms=(RESTORED, SCALED),
        needs="control arms norm_restored and scale_only of an editor in the study",
    ),
    EditingClaim(
        id="restoring_norm_protects",
        title="Restoring the norm protects the model",
        text="With edited matrices scaled back to their unedited norm after each edit, edits do less damage.",
        source="beyond the paper: a control arm",
        measured=(
            "Perplexity on held-out text with the norm restored, over that of the editor itself after as many edits, "
            "window by window. S of the edited facts stands beside it."
        ),
        effect="ratio of the two perplexities",
        rule=PROTECTION,
        measure=restoring_protects,
        special=(
            "Undecided where the editor itself raises perplexity by less than a factor 1.1, and where the model is "
            "spared because its edits are undone: where S surely ends more than 0.02 below the editor's own."
        ),
        arms=(RESTORED,),
        needs="a control arm norm_restored of an editor in the study",
    ),
    EditingClaim(
        id="norm_alone_harms",
        title="Growth of the norm alone harms the model",
        text="The unedited weights, scaled along an editor's norms, harm the model as its edits do.",
        source="beyond the paper: a control arm",
        measured=(
            "Perplexity on held-out text of the unedited weights scaled to the norms that the editor's run ends with, "
            "over that of the unedited model. The editor itself and random steps of the same norms stand beside it."
        ),
        effect="ratio of the two perplexities",
        rule=HARM,
        measure=norm_alone_harms,
        arms=(SCALED,),
        needs="a control arm scale_only of an editor in the study",
    ),
    EditingClaim(
        id="norm_growth_tracks_damage",
        title="Editors whose norms grow more do more damage",
        text="Over editors, growth of the norm and damage to the model go together.",
        source="beyond the paper: what its summaries call a correlation",
        measured=(
            "Spearman's rank correlation, over all editors of a model, of the growth of log norm with that of log "
            "perplexity at the end of the run; over families counted once, and with S, the cloze and the activation "
            "norm beside it. It tells what goes together, not what causes what."
        ),
        effect="rank correlation over editors",
        rule=Rule(UP, 0.0, 0.0, zone=(-0.3, 0.3)),
        measure=growth_tracks_damage,
        special=(
            "Too short with fewer than five editors; undecided where three or more families, each counted once, say "
            "the reverse. Norms and perplexities that are not finite rank as the largest."
        ),
        of_models=True,
        of_orders=False,
        needs="several editors of one model",
    ),
)
