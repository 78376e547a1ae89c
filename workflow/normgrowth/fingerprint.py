"""Fingerprints of code and of numerical libraries, on which a rule depends besides its files and settings.

A rule carries the closure of its command as parameters, so that it runs again when a module it uses changes, and only
then. A fingerprint is blind to comments, docstrings and formatting.
"""

import ast
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = "normgrowth"
ROOT = Path(__file__).parent

# Import graphs of libraries (grimp) see neither names of modules in strings nor data files, and hash nothing. Building
# this package's takes 0.13 s of CPU time from a warm cache; reading all fingerprints here takes 0.05 s from ours.

OPAQUE = frozenset(
    {
        # Registries name every editor and figure: following them would tie each job to all of them. A rule names the
        # one that it uses beside its command instead.
        "normgrowth.editors.registry",
        "normgrowth.figures.catalogue",
        # Show progress, and change no result.
        "normgrowth.progress",
        "normgrowth.runs.status",
    }
)
"""Modules that a closure holds, and follows, only as its entries."""

NUMERICS = ("torch", "transformers", "tokenizers", "numpy", "scipy")
"""Libraries that the results of a computation depend on."""

_FILE_NAME = re.compile(r"[\w-]+(\.[\w-]+)+")


class Code(NamedTuple):
    """Content of a module's source, comments, docstrings and formatting aside."""

    hash: str
    modules: tuple[str, ...]  # names that may be modules of this package
    files: tuple[str, ...]  # names that may be data files beside the module


def closure(*entries: str) -> list[str]:
    """`module@hash` for the entry modules and everything of this package that they import, sorted.

    Imports inside functions count, as do names of modules in strings. A module that names a data file beside it stands
    for all data files there.

    Raises:
        ModuleNotFoundError: when an entry is no module of this package.
        SyntaxError: when a module among them is not Python.
    """
    for entry in entries:
        if _file_of(entry) is None:
            raise ModuleNotFoundError(f"{entry} is no module of {PACKAGE}")
    reached: dict[str, str] = {}
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        path = _file_of(module)
        if path is None or module in reached or (module in OPAQUE and module not in entries):
            continue
        code = _code_of(module, path)
        reached[module] = _hash_of(module, path)
        waiting += code.modules
    _keep()
    return [f"{module}@{fingerprint}" for module, fingerprint in sorted(reached.items())]


def read_all() -> None:
    """Read every module now, so that all fingerprints of a run are of one moment, even if code is edited during the
    run.

    Unreadable modules are skipped: a half-written file may belong to no rule, and `closure` raises for those that do.
    """
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = ".".join((PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)))
        if _file_of(module) == path:
            with suppress(SyntaxError, OSError, ValueError):
                _hash_of(module, path)
    _keep()


def beyond(fingerprints: Iterable[str], *entries: str) -> list[str]:
    """Fingerprints that the closure of `entries` adds to `fingerprints`."""
    known = set(fingerprints)
    return [fingerprint for fingerprint in closure(*entries) if fingerprint not in known]


@cache
def versions(*names: str) -> list[str]:
    """Installed versions of libraries, as `name==version`; those not installed are left out."""
    found = []
    for name in names:
        with suppress(PackageNotFoundError):
            found.append(f"{name}=={version(name)}")
    return found


def numerics() -> list[str]:
    """Installed versions of the libraries that the results of a computation depend on."""
    return versions(*NUMERICS)


def read_code(source: bytes, module: str, is_package: bool = False) -> Code:
    """Content of the source of `module`.

    Args:
        source: the file's bytes.
        module: the module's full name.
        is_package: True for an `__init__.py`, whose relative imports start from itself.

    Raises:
        SyntaxError: when it is not Python.
        ValueError: when it holds a null byte.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [statement for statement in body if not _says_nothing(statement)]
    modules, files = {module}, set[str]()
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            modules |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}  # a name may be a module
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _FILE_NAME.fullmatch(node.value):
            (modules if node.value.startswith(f"{PACKAGE}.") else files).add(node.value)
    ours = [name.split(".") for name in modules if name.split(".")[0] == PACKAGE]
    with_parents = {".".join(parts[:end]) for parts in ours for end in range(1, len(parts) + 1)}
    return Code(
        hashlib.sha256(ast.dump(tree).encode()).hexdigest(),
        tuple(sorted(with_parents - {module})),
        tuple(sorted(files)),
    )


def _says_nothing(statement: ast.stmt) -> bool:
    """True for a docstring, of a constant too, and for the package's version."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return isinstance(statement.value.value, str)
    return isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__version__"


@cache
def _hash_of(module: str, path: Path) -> str:
    """Hash of a module, fixed for the life of this process."""
    return _with_data(_code_of(module, path), path)


def _with_data(code: Code, path: Path) -> str:
    """Hash of a module, together with all data files beside it if it names one, since they may include each other."""
    digest = hashlib.sha256(code.hash.encode())
    if any(path.with_name(name).is_file() for name in code.files):
        for beside in sorted(path.parent.iterdir()):
            if beside.is_file() and beside.suffix != ".py":
                digest.update(beside.read_bytes())
    return digest.hexdigest()[:12]


@cache
def _file_of(module: str) -> Path | None:
    """The file of a module of this package; None for anything else, a folder without `__init__.py` included."""
    first, *rest = module.split(".")
    if first != PACKAGE:
        return None
    base = ROOT.joinpath(*rest)
    return next((file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()), None)


# Reading all modules takes 1.5 s of CPU time, at every start of the workflow and of every cluster job, so what was read
# is kept beside Python's own caches and, as these are, trusted while a file's time and size stay.

_CACHE_FILE = ROOT / "__pycache__" / f"fingerprints-{sys.implementation.cache_tag}.json"
_READER = Path(__file__).stat().st_mtime_ns  # so that fingerprints by another version of this module are not trusted
_unsaved: set[str] = set()


@cache
def _kept() -> dict[str, list[Any]]:
    """Content of the cache: by module, its stamp and the fields of its code."""
    try:
        return json.loads(_CACHE_FILE.read_text())
    except (OSError, ValueError):
        return {}


@cache
def _code_of(module: str, path: Path) -> Code:
    """Content of a module, from the cache where the file has not changed.

    The package itself counts as empty: it holds the version, and the names of the library (`api`), by which no job
    enters.
    """
    if module == PACKAGE:
        return read_code(b"", module, is_package=True)
    status = path.stat()
    stamp = [status.st_mtime_ns, status.st_size, _READER]
    known = _kept().get(module)
    if known and known[0] == stamp:
        digest, modules, files = known[1]
        return Code(digest, tuple(modules), tuple(files))
    code = read_code(path.read_bytes(), module, path.name == "__init__.py")
    _kept()[module] = [stamp, code]
    _unsaved.add(module)
    return code


def _keep() -> None:
    """Write the cache, where something was read."""
    if not _unsaved:
        return
    _unsaved.clear()
    with suppress(OSError):  # a cache that cannot be written is only slower
        _CACHE_FILE.parent.mkdir(exist_ok=True)
        beside = _CACHE_FILE.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(_kept()))
        beside.replace(_CACHE_FILE)
