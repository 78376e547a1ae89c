"""Look at the cluster's scheduler before a study is run on it: what would hang, be refused or be lost."""

import argparse
from pathlib import Path

from normgrowth.commands.common import add_study

PROFILE = Path("profiles/slurm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_study(parser, default="that of the profile")
    parser.add_argument("--profile", type=Path, default=PROFILE, help=f"the profile (default: {PROFILE})")


def run(arguments: argparse.Namespace) -> None:
    """Ask the scheduler, and print what was found."""
    import yaml

    from normgrowth.study.plan import Plan
    from normgrowth.study.study_files import in_repository, read_study
    from normgrowth.workflow.cluster import read_site
    from normgrowth.workflow.preflight import Executor, examine

    folder = in_repository(arguments.profile)
    profile = yaml.safe_load((folder / "profile.yaml").read_text(encoding="utf-8"))
    study = read_study(arguments.study or in_repository(profile["configfile"]), arguments.config)
    executor = Executor(
        profile.get("slurm-status-command"),
        profile.get("slurm-init-seconds-before-status-checks", 40),
        profile.get("slurm-jobname-prefix", ""),
    )
    examine(Plan(study), read_site(folder / "site.yaml"), executor, Path.cwd())
    print(f"{study.study}: nothing stands in the way of a run on this cluster")
