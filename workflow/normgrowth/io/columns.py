"""Registry of tables: the columns of every table, and what measures those of checkpoints.

Names, types and order are a contract that readers rely on. Every table begins with the identity columns. `step` counts
the edits applied so far; 0 is the unedited model. Floats are float32 except where small differences of large numbers
matter (norms, losses). Free of pyarrow: planning a study reads the names.
"""

from typing import NamedTuple

IDENTITY: list[tuple[str, str]] = [
    ("study", "string"),
    ("model", "string"),
    ("editor", "string"),
    ("order", "int32"),
    ("step", "int32"),
]


class Table(NamedTuple):
    """A table: its columns beyond the identity columns, as pairs of name and Arrow type."""

    columns: tuple[tuple[str, str], ...]
    measure: str | None = None
    """Module of `normgrowth.measure` whose `measure` makes the table's rows at a checkpoint; None for other tables."""
    along: bool = False
    """True where it also measures the steps of `measure.curve`, between checkpoints."""
    of_model: bool = False
    """True where the unedited model's rows are the same in every edit order."""


_SCORES = (
    ("es", "float32"),  # share of prompts where the wanted object is the more probable one
    ("ps", "float32"),
    ("ns", "float32"),
    ("em", "float32"),  # mean difference of the two objects' probabilities
    ("pm", "float32"),
    ("nm", "float32"),
    ("ea", "float32"),  # share of prompts whose wanted object's tokens are all most probable
    ("pa", "float32"),
    ("na", "float32"),
)

_OF_SUBJECT = (
    ("rs", "float32"),  # the same three on other relations of the subject; null where a fact asks about none
    ("rm", "float32"),
    ("ra", "float32"),
)

_GENERATED = (
    ("generation_match", "float32"),  # 1 where greedy decoding of the prompt says the edit's object; null: not asked
    ("entropy", "float32"),  # weighted 2- and 3-gram entropy of a free text about the subject, bits
)

WHERE = (
    ("layer", "int32"),
    ("site", "string"),  # residual, mlp_output, attention_output, mlp_key
    ("probe", "string"),  # facts, text
    ("token", "string"),  # of facts subject_last, last; of text all (each position), mean (over a window)
)

TABLES: dict[str, Table] = {
    # One row per step and matrix.
    "norms": Table(
        (
            ("matrix", "string"),  # the parameter's name in the model
            ("layer", "int32"),
            ("role", "string"),  # "edited" or "control"
            ("frobenius", "float64"),  # ||W||_F
            ("frobenius_ratio", "float64"),  # to step 0
            ("delta_frobenius", "float64"),  # ||W_t - W_{t-1}||_F, of this step's change
            ("drift_frobenius", "float64"),  # ||W_t - W_0||_F
            ("drift_cosine", "float64"),  # of W_t - W_0 and W_0; null where nothing has changed
        ),
    ),
    # One row per edit.
    "edits": Table(
        (
            ("case_id", "int64"),
            ("batch", "int32"),  # the call of the editor this edit was part of, from 1
            ("search_steps", "int32"),  # gradient steps taken
            ("search_loss", "float32"),
            ("target_norm", "float32"),  # ||v*|| or ||z||
            ("offset_norm", "float32"),  # ||delta||
            ("key_norm", "float32"),
            ("residual_norm", "float32"),
            ("immediate_efficacy", "float32"),  # 1 where the new object beats the true one just after the edit
            ("skipped_reason", "string"),
            ("edit_seconds", "float32"),  # wall time of the edit's batch over its size
        ),
    ),
    # One row per edit, of studies whose streams edit facts more than once.
    "stream": Table(
        (
            ("case_id", "int64"),
            ("kind", "string"),  # first, repeat: to another new object, put_back: to the true one
            ("target_new", "string"),  # what the edit writes
            ("target_true", "string"),
            ("former", "string"),  # what the fact's edit before wrote; null where this is its first
        ),
    ),
    # One row per step and watched matrix, at checkpoints.
    "spectra": Table(
        (
            ("matrix", "string"),
            ("layer", "int32"),
            ("spectral_norm", "float64"),
            ("stable_rank", "float64"),  # ||W||_F^2 / ||W||_2^2
            ("singular_values", "list<float64>"),  # the k largest, descending
            ("left_rotation", "float64"),  # of the leading k-dimensional subspace against the unedited one, degrees
            ("right_rotation", "float64"),
        ),
        measure="spectra",
        of_model=True,
    ),
    # One row per step, layer, site, probe set and token.
    "activations": Table(
        (
            *WHERE,
            ("n", "int32"),  # vectors measured
            ("units", "int32"),  # prompts or windows, which are independent; the vectors of one window are not
            ("norm_mean", "float32"),
            ("norm_std", "float32"),  # over vectors
            ("norm_ratio", "float32"),  # mean over vectors of ||a_t|| / ||a_0||
            ("norm_ratio_std", "float32"),  # over units, of a unit's mean: std / sqrt(units) is the standard error
            ("ratio_of_norms", "float32"),  # mean of ||a_t|| over mean of ||a_0||
            ("ratio_of_norms_std", "float32"),  # over units
            ("cosine_to_unedited", "float32"),  # mean over vectors of cos(a_t, a_0)
            ("cosine_std", "float32"),  # over units
            ("share_of_residual", "float32"),  # mean over vectors of ||a_t|| / ||residual_t||; null for keys
        ),
        measure="geometry",
        of_model=True,
    ),
    # One row per step, layer, site, probe set and token: the unedited model's principal subspace, and what has left it.
    "subspaces": Table(
        (
            *WHERE,
            ("n", "int32"),
            ("units", "int32"),  # prompts or windows
            ("width", "int32"),  # entries of a vector
            ("components", "int32"),
            ("explained_variance", "float32"),  # by the unedited components, of held-out probes
            ("explained_variance_unedited", "float32"),  # the same of the unedited model
            ("explained_change", "float32"),
            ("explained_change_std", "float32"),  # over units
            ("explained_uncentred", "float32"),  # as explained_variance, about the unedited mean instead of its own
            ("departure", "float32"),  # 0: the unedited subspace, 1: one that is independent of it
            ("departure_std", "float32"),  # over units
            ("departure_uncentred", "float32"),  # the same about the unedited mean, so that a shift of the mean counts
            ("departure_uncentred_std", "float32"),
            ("principal_angles", "list<float32>"),  # between both models' leading subspaces, degrees, ascending
            ("centroid_shift", "float32"),  # in units of the unedited spread
        ),
        measure="geometry",
        of_model=True,
    ),
    # One row per step, layer, site, probe set, token and vector.
    "coordinates": Table(
        (
            *WHERE,
            ("number", "int32"),  # of the probe
            ("pc1", "float32"),  # in the plane of the unedited model's first two components, about its mean
            ("pc2", "float32"),
            ("pc1_share", "float32"),  # of the unedited variance
            ("pc2_share", "float32"),
        ),
        measure="geometry",
        of_model=True,
    ),
    # One row per step, layer, site, probe set and token; of the residual stream on text, per pair of layers.
    "cka": Table(
        (
            *WHERE,
            ("unedited_layer", "int32"),  # the layer of the unedited model that `layer` is compared with
            ("n", "int32"),
            ("cka", "float32"),  # debiased, linear
        ),
        measure="geometry",
        of_model=True,
    ),
    # One row per step, moment and case.
    "scores": Table(
        (
            ("case_id", "int64"),
            ("edited_at", "int32"),  # the step that wrote this case, the latest up to the row's; null where none has
            ("moment", "string"),  # unedited, immediate, retention, final; untouched: facts that no edit is about
            *_SCORES,
            *_GENERATED,
            *_OF_SUBJECT,
        ),
        measure="retention",
        along=True,
    ),
    # One row per fact edited alone on the unedited model and undone; the step is 1.
    "single_edits": Table(
        (
            ("case_id", "int64"),
            *_SCORES,
            ("delta_frobenius", "float64"),  # norm of the edit's change, over all edited matrices
            *_OF_SUBJECT,
        ),
    ),
    # One row per step, task and metric.
    "downstream": Table(
        (
            ("task", "string"),
            ("metric", "string"),  # of a harness task as the harness names it: metric,filter
            ("value", "float64"),
            ("stderr", "float64"),  # standard error over items or windows; null where there is none
            ("n", "int64"),
            # Log perplexity of each window, and its change since the unedited model; null elsewhere.
            ("by_window", "list<float64>"),
        ),
        measure="ability",
        along=True,
    ),
    # One row per step, arm and metric: the model with altered weights (`measure.norm_direction` lists the arms).
    "norm_direction": Table(
        (
            ("arm", "string"),
            ("amount", "float64"),  # rho, lambda or factor of the arm; null where it has none
            # log_perplexity of held-out text; es, ps, ns (and rs, where facts have it) of edited facts; cloze; of the
            # edited model also norm_ratio, drift_ratio (||W_t - W_0|| / ||W_0||), unedited_coefficient (of W_0 in W_t),
            # output_gain (on text)
            ("metric", "string"),
            ("value", "float64"),
            ("n", "int64"),  # windows, facts, items or matrices
            ("by_window", "list<float64>"),  # log perplexity of each window; null elsewhere
            ("post_norm", "bool"),  # true where a norm stands behind an edited layer's MLP
        ),
        measure="norm_direction",
    ),
    # One row per edit, beside a segment's own `edits`, which holds no times.
    "timing": Table(
        (
            ("case_id", "int64"),
            ("edit_seconds", "float32"),
        ),
    ),
    # One row per step (of training; 0 and 1 of two checkpoints) and weight matrix; `editor` is the intervention's name.
    "interventions": Table(
        (
            ("kind", "string"),  # continued_pretraining, full_fine_tuning, lora_fine_tuning
            ("matrix", "string"),
            ("layer", "int32"),  # null for embeddings and heads
            ("frobenius", "float64"),  # of the merged matrix, for LoRA
            ("frobenius_ratio", "float64"),
            ("drift_frobenius", "float64"),
        ),
    ),
    # One row per segment of a chain; the step is the segment's last.
    "speed": Table(
        (
            ("segment", "int32"),
            ("edits", "int32"),
            ("load_seconds", "float32"),  # model, statistics and earlier segments
            ("edit_seconds", "float32"),  # the editor alone
            ("telemetry_seconds", "float32"),
            ("score_seconds", "float32"),  # immediate scores
            # Peak of torch's allocations on the GPU, or of the process's resident set where there is none; 2**20 bytes.
            ("peak_memory_mb", "float32"),
        ),
    ),
}

WITHOUT_TIMES = {"edits": ("edit_seconds",)}
"""Columns that a segment's own file leaves out, so that equal work gives equal bytes; tables hold them."""

CHECKPOINT_TABLES = tuple(name for name, table in TABLES.items() if table.measure)
"""Tables that are measured at checkpoints."""

MEASURES = tuple(dict.fromkeys(table.measure for table in TABLES.values() if table.measure))
"""Modules of `normgrowth.measure` that make them."""

ALONG_CURVE = tuple(measure for measure in MEASURES if any(t.along and t.measure == measure for t in TABLES.values()))
"""Those that also measure steps between checkpoints."""

OF_MODEL = tuple(name for name, table in TABLES.items() if table.of_model)
"""Tables that are measured of an unedited model in its first order alone, and taken from there in the others."""


def made_by(measure: str) -> tuple[str, ...]:
    """The tables that a module of `normgrowth.measure` makes."""
    return tuple(name for name, table in TABLES.items() if table.measure == measure)
