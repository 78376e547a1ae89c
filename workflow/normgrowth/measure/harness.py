"""General ability by EleutherAI's lm-evaluation-harness, an optional package: its tasks, prompts and metrics.

The harness defines each task and versions it; here it is only given the model at hand, and its numbers become rows.
"""

import copy
import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from pathlib import Path

import pandas as pd
from transformers import PreTrainedTokenizerBase

from normgrowth.errors import INSTALL_HARNESS, AbilityError
from normgrowth.lm.model import LanguageModel

SEED = 1234
"""Seed of the harness: its own default, so that few-shot examples are those of published numbers."""

ROWS_PER_PASS = 8
"""Requests per forward pass. Fixed, whatever fits the device: padding, and with it rounding, must not differ between
runs."""

RESAMPLES = 1000
"""Bootstrap draws for standard errors that have no closed form."""


def evaluate(
    lm: LanguageModel, tasks: Sequence[str], few_shot: int, limit: int | None, task_folder: Path | None
) -> tuple[pd.DataFrame, dict]:
    """The metrics of harness tasks on the model, its weights as they are in memory, and what made them.

    Args:
        tasks: names of tasks, groups or tags, of the harness or of `task_folder`.
        few_shot: solved examples before each item. A task that fixes zero keeps zero.
        limit: items of each task, from its first on; None for all.
        task_folder: folder with further tasks, as the harness's YAML files.

    Returns:
        Columns `task, metric, value, stderr, n, by_window`: one row per task (and group that the harness aggregates)
        and metric, in the metric's own unit; `stderr` is None where the harness knows none, `n` counts items, and
        `by_window` is None. `value` is NaN for a task in which the model gave no number to some text: it has collapsed.
        Metrics are named as the harness does, `metric,filter` (`acc,none`).
        And the versions: that of the harness, and by task its version, the number of examples it was given, and the
        harness's hash of its items, prompts and answers (the data behind a task is not pinned by its version).

    Raises:
        AbilityError: when the harness is not installed, a task is unknown, or its data or packages are not there.
    """
    try:  # late, because the package is optional
        from lm_eval import __version__, simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
        from lm_eval.utils import hash_string
    except ImportError as error:
        raise AbilityError(
            f"tasks need lm_eval, which cannot be imported ({error}): install it by {INSTALL_HARNESS}"
        ) from error

    manager = TaskManager(include_path=None if task_folder is None else str(task_folder))
    for task in tasks:
        _require_known(task, manager.all_tasks, __version__, task_folder)
    window = {} if lm.context is None else {"max_length": lm.context}
    try:
        results = simple_evaluate(
            HFLM(
                pretrained=lm.model,
                tokenizer=_tokenizer_of(lm),
                batch_size=ROWS_PER_PASS,
                trust_remote_code=False,
                **window,
            ),
            tasks=list(tasks),
            num_fewshot=few_shot,
            limit=limit,
            task_manager=manager,
            bootstrap_iters=RESAMPLES,
            random_seed=SEED,
            numpy_random_seed=SEED,
            torch_random_seed=SEED,
            fewshot_random_seed=SEED,
        )
    except (OSError, ValueError, ImportError, AssertionError) as error:  # it asserts that generations leave room
        raise AbilityError(f"tasks {', '.join(tasks)} cannot be evaluated by lm_eval: {error}") from error
    return pd.DataFrame(_rows(results)), {"lm_eval": __version__, "tasks": _versions(results, hash_string)}


def _tokenizer_of(lm: LanguageModel) -> PreTrainedTokenizerBase:
    """A copy of the tokenizer: the harness gives it a padding token, which must not reach other measurements."""
    tokenizer = copy.deepcopy(lm.tokenizer)
    if tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.bos_token  # the harness ends texts with it
    return tokenizer


def _require_known(task: str, known: list[str], version: str, task_folder: Path | None) -> None:
    if task not in known:
        near = difflib.get_close_matches(task, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        own = "" if task_folder is None else f" --include_path {task_folder}"
        raise AbilityError(f"task {task!r} is unknown to lm_eval {version}{hint} (known: `lm-eval ls tasks{own}`)")


def _rows(results: dict) -> Iterator[dict]:
    for task, metrics in results["results"].items():
        leaves = _leaves(task, results["group_subtasks"])
        # The argmax over NaNs is an index all the same, and would look like an answer.
        broken = any(_holds_nan(sample["resps"]) for leaf in leaves for sample in results["samples"][leaf])
        n = sum(results["n-samples"][leaf]["effective"] for leaf in leaves)
        for key, value in metrics.items():
            name, _, filtered = key.partition(",")  # numbers stand under `metric,filter`, beside names and counts
            if not filtered or name.endswith("_stderr") or not isinstance(value, Real):
                continue
            stderr = metrics.get(f"{name}_stderr,{filtered}")
            yield {
                "task": task,
                "metric": key,
                "value": math.nan if broken else float(value),
                "stderr": float(stderr) if isinstance(stderr, Real) and not broken else None,
                "n": n,
                "by_window": None,
            }


def _leaves(task: str, subtasks: dict[str, list[str]]) -> list[str]:
    """The tasks of a group; a task that is no group is its own only one."""
    children = subtasks.get(task, [])
    return [leaf for child in children for leaf in _leaves(child, subtasks)] or [task]


def _holds_nan(answer: object) -> bool:
    """True where a NaN is among the answers to a request, however they are nested."""
    if isinstance(answer, list | tuple):
        return any(map(_holds_nan, answer))
    return isinstance(answer, float) and math.isnan(answer)


def _versions(results: dict, hash_string: Callable[[str], str]) -> dict[str, dict]:
    parts = ("doc_hash", "prompt_hash", "target_hash")
    return {
        task: {
            "version": results["versions"][task],
            "few_shot": results["n-shot"][task],
            # As the harness computes it where it logs samples itself.
            "hash": hash_string("".join(sample[part] for sample in samples for part in parts)),
        }
        for task, samples in results["samples"].items()
    }
