"""Look at the cluster's scheduler before a study is run on it: what would hang, be refused or be lost."""

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field

from normgrowth.jobs.job import Positional
from normgrowth.jobs.of_study import OfStudy
from normgrowth.study.plan import Plan
from normgrowth.study.study_files import in_repository, read_study
from normgrowth.workflow.cluster import read_site
from normgrowth.workflow.preflight import Executor, examine

PROFILE = Path("profiles/slurm")


class Preflight(OfStudy):
    """A study, and the profile that it would be run with."""

    study: Annotated[Path | None, Positional()] = Field(
        None, description="study file, laid over the default study (default: that of the profile)"
    )
    profile: Path = Field(PROFILE, description="the profile")


def run(job: Preflight) -> None:
    """Ask the scheduler, and print what was found."""
    folder = in_repository(job.profile)
    profile = yaml.safe_load((folder / "profile.yaml").read_text(encoding="utf-8"))
    study = read_study(job.study or in_repository(profile["configfile"]), job.config)
    executor = Executor(
        profile.get("slurm-status-command"),
        profile.get("slurm-init-seconds-before-status-checks", 40),
        profile.get("slurm-jobname-prefix", ""),
    )
    examine(Plan(study), read_site(folder / "site.yaml"), executor, Path.cwd())
    print(f"{study.study}: nothing stands in the way of a run on this cluster")
