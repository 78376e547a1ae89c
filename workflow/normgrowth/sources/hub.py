"""Models of the Hugging Face Hub at a pinned commit: the files that loading needs, into the Hub's own cache.

`HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE` mean what they mean to huggingface_hub.

`hf_hub_download` does the cache, the ETags and the resuming of one file. `snapshot_download` is not used: it lists the
repository once more, and after an error of the Hub it may take a partial snapshot for the model. Neither waits for a
busy Hub, notices a damaged file in the cache, or tells the user what to do.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,  # of the HTTP library that huggingface_hub happens to use
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm import tqdm

from normgrowth.errors import ModelError
from normgrowth.io.known_hashes import confirmed
from normgrowth.progress import Progress
from normgrowth.sources.checkpoint_files import (
    CONFIG,
    INDEX,
    PICKLED,
    TOKENIZERS,
    WEIGHTS,
    adapter_fault,
    has_tokenizer,
    loaded_files,
    shards_of,
)
from normgrowth.sources.model_config import commit_fault, hub_cache, snapshot_folder
from normgrowth.sources.web import BUSY, TransientError, retry

T = TypeVar("T")

_SHA256 = re.compile("[0-9a-f]{64}")

HUB = "https://huggingface.co"


def fetch_model(repo: str, revision: str) -> list[Path]:
    """The model's files in the cache: configuration, safetensors and tokenizer, fetched where they are missing.

    Nothing that could execute is fetched: no pickled weights, no code. Files that are in the cache are not fetched
    again, and a file whose connection broke is resumed.

    Args:
        repo: `owner/name`.
        revision: full hash of a commit.

    Raises:
        ModelError: when the model cannot be fetched, with the remedy.
    """
    if fault := commit_fault(repo, revision):
        raise ModelError(f"revision {revision!r} of {repo}: {fault}")
    if _is_offline():
        return _whole(_cached(repo, revision, "HF_HUB_OFFLINE is set"))
    try:
        return _whole(_fetched(repo, revision))
    except TransientError as failure:
        # A commit never changes, so the cached files will do.
        return _whole(_cached(repo, revision, str(failure)))


def newest_commit(repo: str) -> str:
    """Full hash of the newest commit of a repository; without a Hub, of the only one that the cache holds.

    Raises:
        ModelError: when the repository is not there, or the Hub cannot be reached and the cache does not decide.
    """
    if _is_offline():
        return _only_cached(repo, "HF_HUB_OFFLINE is set")
    try:
        found = _retry(lambda: HfApi(endpoint=_endpoint()).model_info(repo, timeout=30), repo, "main").sha
    except TransientError as failure:
        return _only_cached(repo, str(failure))
    if found is None:
        raise ModelError(f"{_endpoint()} names no commit of {repo}: give the full hash of one as its revision")
    return found


def _only_cached(repo: str, why: str) -> str:
    """The only commit of a repository in the cache; `why` is the reason for not asking the Hub, for the message.

    Raises:
        ModelError: when it holds none, or several.
    """
    snapshots = snapshot_folder(repo, "any").parent
    commits = sorted(path.name for path in snapshots.iterdir()) if snapshots.is_dir() else []
    if len(commits) != 1:
        there = f"commits {', '.join(commits)}" if commits else "no commit"
        raise ModelError(f"{why}, and {hub_cache()} holds {there} of {repo}: give the revision of one that it holds")
    return commits[0]


def _whole(files: list[Path]) -> list[Path]:
    """The files, after a check of those whose name in the cache is a SHA-256.

    Raises:
        ModelError: naming the file and the remedy.
    """
    for kept in (file.resolve() for file in files):
        if _SHA256.fullmatch(kept.name) and (found := confirmed(kept, kept.name)) != kept.name:
            raise ModelError(
                f"{kept} in the Hub's cache is damaged: its SHA-256 is {found[:12]}..., not the one that is its name: "
                "delete it and fetch the model again"
            )
    return files


def _fetched(repo: str, revision: str) -> list[Path]:
    sizes = _retry(lambda: _listed(repo, revision), repo, revision)
    weights = [WEIGHTS]
    if INDEX in sizes:
        weights = shards_of(*_get(repo, revision, {INDEX: sizes[INDEX]}))
    _check_parts(sizes, weights, f"{repo} at {revision}")
    return _get(repo, revision, {name: sizes[name] for name in loaded_files(sizes, weights)})


def _is_offline() -> bool:
    said = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return said.upper() in ("1", "ON", "YES", "TRUE")


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or HUB


def _listed(repo: str, revision: str) -> dict[str, int]:
    """Size in bytes of each file at the top of the repository."""
    info = HfApi(endpoint=_endpoint()).model_info(repo, revision=revision, files_metadata=True, timeout=30)
    if info.sha != revision:
        raise ModelError(f"{repo}: {_endpoint()} gave commit {info.sha}, but {revision} is pinned")
    return {file.rfilename: file.size or 0 for file in info.siblings or () if "/" not in file.rfilename}


def _check_parts(names: Collection[str], weights: list[str], what: str) -> None:
    """Refuse a repository that lacks a part of a model; `what` names it.

    Raises:
        ModelError: naming what is missing.
    """
    if fault := adapter_fault(names):
        raise ModelError(f"{what} {fault}")
    missing = [name for name in weights if name not in names]
    if missing == [WEIGHTS]:
        pickled = any(name.endswith(PICKLED) for name in names)
        raise ModelError(
            f"{what} has no safetensors weights{', only pickled ones, which are not loaded' if pickled else ''}: pin a "
            "commit or a repository that has them, or save the model as safetensors and give it as a local one"
        )
    missing += [] if CONFIG in names else [CONFIG]
    missing += [] if has_tokenizer(names) else [f"a tokenizer ({' or '.join(TOKENIZERS)})"]
    if missing:
        raise ModelError(f"{what} lacks {', '.join(missing)}")


def _get(repo: str, revision: str, sizes: dict[str, int]) -> list[Path]:
    """Paths of these files in the cache; each that is not there yet is fetched."""
    there = snapshot_folder(repo, revision)
    with Progress(sum(sizes.values()), f"fetching {repo}, bytes") as progress:

        class Bar(tqdm):
            """Bar of the Hub's library that adds its counts to `progress`."""

            def __init__(self, *_: object, **options: Any) -> None:
                super().__init__(total=options.get("total"), disable=True)

            def update(self, n: float | None = 1) -> None:
                progress.update(int(n or 0))

            def update_transfer(self, n: float | None = 1) -> None:
                """Count nothing: some downloads report the bytes received beside the bytes written."""

            def set_transfer_postfix_str(self, *_: object, **__: object) -> None:
                """Show nothing."""

        def fetch(name: str) -> str:
            return hf_hub_download(
                repo, name, revision=revision, endpoint=_endpoint(), cache_dir=hub_cache(), tqdm_class=Bar
            )

        for name, size in sizes.items():
            if (there / name).exists():
                progress.update(size)
                continue
            _retry(partial(fetch, name), repo, revision)
    return [there / name for name in sizes]


def _retry(work: Callable[[], T], repo: str, revision: str) -> T:
    """Result of `work`, tried again while the Hub cannot be reached or is busy."""

    def attempt() -> T:
        with _explained(repo, revision):
            return work()

    return retry(attempt)


@contextmanager
def _explained(repo: str, revision: str) -> Iterator[None]:
    """Turn the Hub's errors into ours.

    Raises:
        ModelError: for those that need the user.
        TransientError: for those that may pass.
    """
    try:
        yield
    except LocalEntryNotFoundError as error:
        # It stands for a request that failed although huggingface_hub tried again for a while.
        cause = error.__cause__ or error
        raise TransientError(f"{_endpoint()} cannot be reached: {_first_line(cause)}") from error
    except GatedRepoError as error:
        raise ModelError(
            f"{repo} is gated: ask for access and accept its licence at {HUB}/{repo}, then set HF_TOKEN to a token of "
            "the account that has it"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{repo} has no commit {revision}: its commits stand at {HUB}/{repo}/commits/main") from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"{repo} is not on {_endpoint()}, or it is private: correct the name, or set HF_TOKEN to a token that may "
            "read it"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in BUSY:
            raise TransientError(f"{_endpoint()} answered {status}") from error
        raise ModelError(f"{repo}: {_endpoint()} answered {status}: {_first_line(error)}") from error
    except HTTPError as error:
        raise TransientError(f"the connection to {_endpoint()} broke: {_first_line(error)}") from error
    except OSError as error:
        if error.errno is not None:
            raise  # of the disk
        raise TransientError(_first_line(error)) from error  # fewer bytes came than were announced


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _cached(repo: str, revision: str, why: str) -> list[Path]:
    """The model's files, all from the cache; `why` is the reason for not asking the Hub, for the message.

    Raises:
        ModelError: naming what is not there, and how to get it.
    """
    folder = snapshot_folder(repo, revision)
    names = {path.name for path in folder.iterdir() if path.exists()} if folder.is_dir() else set()
    weights = shards_of(folder / INDEX) if INDEX in names else [WEIGHTS]
    missing = [] if CONFIG in names else [CONFIG]
    missing += [name for name in weights if name not in names]
    missing += [] if has_tokenizer(names) else ["the tokenizer's files"]
    if missing:
        raise ModelError(
            f"{why}, and {hub_cache()} lacks {', '.join(missing)} of {repo} at {revision}: run `normgrowth fetch-model "
            f"--repo {repo} --revision {revision}` on a machine with network, with HF_HOME a folder that this one sees "
            "or that you copy here"
        )
    return [folder / name for name in loaded_files(names, weights)]
