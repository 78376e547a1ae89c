"""Columns of every table. Names, types and order are a contract that readers rely on.

Every table begins with the identity columns. `step` counts the edits applied so far; 0 is the unedited
model. Floats are float32 except where small differences of large numbers matter (norms, losses).
"""

import pyarrow as pa

IDENTITY: list[tuple[str, pa.DataType]] = [
    ("study", pa.string()),
    ("model", pa.string()),
    ("editor", pa.string()),
    ("order", pa.int32()),
    ("step", pa.int32()),
]


def _schema(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema(IDENTITY + list(columns))


_SCORES = (
    ("es", pa.float32()),  # share of prompts where the wanted object is the more probable one
    ("ps", pa.float32()),
    ("ns", pa.float32()),
    ("em", pa.float32()),  # mean difference of the two objects' probabilities
    ("pm", pa.float32()),
    ("nm", pa.float32()),
    ("ea", pa.float32()),  # share of prompts whose wanted object's tokens are all most probable
    ("pa", pa.float32()),
    ("na", pa.float32()),
)

_GENERATED = (
    ("generation_match", pa.float32()),  # 1 where greedy decoding of the prompt says the new object; null: not asked
    ("entropy", pa.float32()),  # weighted 2- and 3-gram entropy of a free text about the subject, bits
)

_WHERE = (
    ("layer", pa.int32()),
    ("site", pa.string()),  # residual, mlp_output, attention_output, mlp_key
    ("probe", pa.string()),  # facts, text
    ("token", pa.string()),  # of facts subject_last, last; of text all (each position), mean (over a window)
)

SCHEMAS: dict[str, pa.Schema] = {
    # One row per step and matrix.
    "norms": _schema(
        ("matrix", pa.string()),  # the parameter's name in the model
        ("layer", pa.int32()),
        ("role", pa.string()),  # "edited" or "control"
        ("frobenius", pa.float64()),  # ||W||_F
        ("frobenius_ratio", pa.float64()),  # to step 0
        ("delta_frobenius", pa.float64()),  # ||W_t - W_{t-1}||_F, of this step's change
        ("drift_frobenius", pa.float64()),  # ||W_t - W_0||_F
        ("drift_cosine", pa.float64()),  # of W_t - W_0 and W_0; null where nothing has changed
    ),
    # One row per edit.
    "edits": _schema(
        ("case_id", pa.int64()),
        ("batch", pa.int32()),  # the call of the editor this edit was part of, from 1
        ("search_steps", pa.int32()),  # gradient steps taken
        ("search_loss", pa.float32()),
        ("target_norm", pa.float32()),  # ||v*|| or ||z||
        ("offset_norm", pa.float32()),  # ||delta||
        ("key_norm", pa.float32()),
        ("residual_norm", pa.float32()),
        ("immediate_efficacy", pa.float32()),  # 1 where the new object beats the true one just after the edit
        ("skipped_reason", pa.string()),
        ("edit_seconds", pa.float32()),  # wall time of the edit's batch over its size
    ),
    # One row per step and watched matrix, at checkpoints.
    "spectra": _schema(
        ("matrix", pa.string()),
        ("layer", pa.int32()),
        ("spectral_norm", pa.float64()),
        ("stable_rank", pa.float64()),  # ||W||_F^2 / ||W||_2^2
        ("singular_values", pa.list_(pa.float64())),  # the k largest, descending
        ("left_rotation", pa.float64()),  # of the leading k-dimensional subspace against the unedited one, degrees
        ("right_rotation", pa.float64()),
    ),
    # One row per step, layer, site, probe set and token.
    "activations": _schema(
        *_WHERE,
        ("n", pa.int32()),  # vectors measured
        ("units", pa.int32()),  # prompts or windows, which are independent; the vectors of one window are not
        ("norm_mean", pa.float32()),
        ("norm_std", pa.float32()),  # over vectors
        ("norm_ratio", pa.float32()),  # mean over vectors of ||a_t|| / ||a_0||
        ("norm_ratio_std", pa.float32()),  # over units, of a unit's mean: std / sqrt(units) is the standard error
        ("ratio_of_norms", pa.float32()),  # mean of ||a_t|| over mean of ||a_0||
        ("ratio_of_norms_std", pa.float32()),  # over units
        ("cosine_to_unedited", pa.float32()),  # mean over vectors of cos(a_t, a_0)
        ("cosine_std", pa.float32()),  # over units
        ("share_of_residual", pa.float32()),  # mean over vectors of ||a_t|| / ||residual_t||; null for keys
    ),
    # One row per step, layer, site, probe set and token: the unedited model's principal subspace, and what has left it.
    "subspaces": _schema(
        *_WHERE,
        ("n", pa.int32()),
        ("units", pa.int32()),  # prompts or windows
        ("width", pa.int32()),  # entries of a vector
        ("components", pa.int32()),
        ("explained_variance", pa.float32()),  # by the unedited components, of held-out probes
        ("explained_variance_unedited", pa.float32()),  # the same of the unedited model
        ("explained_change", pa.float32()),
        ("explained_change_std", pa.float32()),  # over units
        ("explained_uncentred", pa.float32()),  # as explained_variance, about the unedited mean instead of its own
        ("departure", pa.float32()),  # 0: the unedited subspace, 1: one that is independent of it
        ("departure_std", pa.float32()),  # over units
        ("departure_uncentred", pa.float32()),  # the same about the unedited mean, so that a shift of the mean counts
        ("departure_uncentred_std", pa.float32()),
        ("principal_angles", pa.list_(pa.float32())),  # between both models' leading subspaces, degrees, ascending
        ("centroid_shift", pa.float32()),  # in units of the unedited spread
    ),
    # One row per step, layer, site, probe set, token and vector.
    "coordinates": _schema(
        *_WHERE,
        ("number", pa.int32()),  # of the probe
        ("pc1", pa.float32()),  # in the plane of the unedited model's first two components, about its mean
        ("pc2", pa.float32()),
        ("pc1_share", pa.float32()),  # of the unedited variance
        ("pc2_share", pa.float32()),
    ),
    # One row per step, layer, site, probe set and token; of the residual stream on text, per pair of layers.
    "cka": _schema(
        *_WHERE,
        ("unedited_layer", pa.int32()),  # the layer of the unedited model that `layer` is compared with
        ("n", pa.int32()),
        ("cka", pa.float32()),  # debiased, linear
    ),
    # One row per step, moment and case.
    "scores": _schema(
        ("case_id", pa.int64()),
        ("edited_at", pa.int32()),  # the step that wrote this case; null where none has
        ("moment", pa.string()),  # unedited, immediate, retention, final; untouched: facts that no edit is about
        *_SCORES,
        *_GENERATED,
    ),
    # One row per fact edited alone on the unedited model and undone; the step is 1.
    "single_edits": _schema(
        ("case_id", pa.int64()),
        *_SCORES,
        ("delta_frobenius", pa.float64()),  # norm of the edit's change, over all edited matrices
    ),
    # One row per step, task and metric.
    "downstream": _schema(
        ("task", pa.string()),
        ("metric", pa.string()),  # of a harness task as the harness names it: metric,filter
        ("value", pa.float64()),
        ("stderr", pa.float64()),  # standard error over items or windows; null where there is none
        ("n", pa.int64()),
        ("by_window", pa.list_(pa.float64())),  # the change of log perplexity in each window; null elsewhere
    ),
    # One row per edit, beside a segment's own `edits`, which holds no times.
    "timing": _schema(
        ("case_id", pa.int64()),
        ("edit_seconds", pa.float32()),
    ),
    # One row per step (of training; 0 and 1 of two checkpoints) and weight matrix; `editor` is the intervention's name.
    "interventions": _schema(
        ("kind", pa.string()),  # continued_pretraining, full_fine_tuning, lora_fine_tuning
        ("matrix", pa.string()),
        ("layer", pa.int32()),  # null for embeddings and heads
        ("frobenius", pa.float64()),  # of the merged matrix, for LoRA
        ("frobenius_ratio", pa.float64()),
        ("drift_frobenius", pa.float64()),
    ),
    # One row per segment of a chain; the step is the segment's last.
    "speed": _schema(
        ("segment", pa.int32()),
        ("edits", pa.int32()),
        ("load_seconds", pa.float32()),  # model, statistics and earlier segments
        ("edit_seconds", pa.float32()),  # the editor alone
        ("telemetry_seconds", pa.float32()),
        ("score_seconds", pa.float32()),  # immediate scores
        # Peak of torch's allocations on the GPU, or of the process's resident set where there is none; 2**20 bytes.
        ("peak_memory_mb", pa.float32()),
    ),
}

WITHOUT_TIMES = {"edits": ("edit_seconds",)}
"""Columns that a segment's own file leaves out, so that equal work gives equal bytes; tables hold them."""


def segment_schema(name: str) -> pa.Schema:
    """The schema of table `name` as a segment writes it: without wall times.

    Raises:
        KeyError: when there is no such table.
    """
    schema = SCHEMAS[name]
    for column in WITHOUT_TIMES.get(name, ()):
        schema = schema.remove(schema.get_field_index(column))
    return schema


def vector_schema(width: int) -> pa.Schema:
    """Schema of raw activations at one site: a vector is a fixed-size list of `width` float32 numbers."""
    return _schema(*_WHERE, ("number", pa.int32()), ("vector", pa.list_(pa.float32(), width)))
