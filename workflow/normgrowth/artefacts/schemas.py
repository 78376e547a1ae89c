"""The columns of every table. Names, types and order are a contract that readers rely on.

Every table begins with the identity columns. `step` counts the edits applied so far; 0 is the unedited
model. Floats are float32 except where small differences of large numbers matter (norms, losses).
"""

import pyarrow as pa

IDENTITY = [
    ("study", pa.string()),
    ("model", pa.string()),
    ("editor", pa.string()),
    ("order", pa.int32()),
    ("step", pa.int32()),
]

UNEDITED = "unedited"
"""The editor's name in rows that belong to the unedited model."""


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
    # One row per step, layer, site, probe set and token.
    "activations": _schema(
        ("layer", pa.int32()),
        ("site", pa.string()),  # residual, mlp_output, attention_output, mlp_key
        ("probe", pa.string()),  # facts, text
        ("token", pa.string()),  # subject_last, last, all
        ("n", pa.int32()),  # vectors measured
        ("norm_mean", pa.float32()),
        ("norm_std", pa.float32()),
        ("norm_ratio", pa.float32()),  # mean over vectors of ||a_t|| / ||a_0||
        ("norm_ratio_std", pa.float32()),
        ("cosine_to_unedited", pa.float32()),  # mean over vectors of cos(a_t, a_0)
        ("cosine_std", pa.float32()),
        ("share_of_residual", pa.float32()),  # mean over vectors of ||a_t|| / ||residual_t||; null for keys
    ),
    # One row per step, moment and case.
    "scores": _schema(
        ("case_id", pa.int64()),
        ("edited_at", pa.int32()),  # the step that wrote this case; null for the unedited model
        ("moment", pa.string()),  # unedited, immediate, retention, final
        *_SCORES,
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
    ),
    # One row per edit, beside a segment's own `edits`, which holds no times.
    "timing": _schema(
        ("case_id", pa.int64()),
        ("edit_seconds", pa.float32()),
    ),
    # One row per segment of a chain; the step is the segment's last.
    "speed": _schema(
        ("segment", pa.int32()),
        ("edits", pa.int32()),
        ("load_seconds", pa.float32()),  # model, statistics and earlier segments
        ("edit_seconds", pa.float32()),  # the editor alone
        ("telemetry_seconds", pa.float32()),
        ("score_seconds", pa.float32()),  # immediate scores
        ("peak_memory_mb", pa.float32()),  # resident set of the process
    ),
}

WITHOUT_TIMES = {"edits": ("edit_seconds",)}
"""Columns that a segment's own file leaves out, so that equal work is equal bytes; tables hold them."""


def segment_schema(name: str) -> pa.Schema:
    """The schema of table `name` as a segment writes it: without wall times."""
    schema = SCHEMAS[name]
    for column in WITHOUT_TIMES.get(name, ()):
        schema = schema.remove(schema.get_field_index(column))
    return schema
