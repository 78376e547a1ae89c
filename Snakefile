# From a study file to evidence: models are edited thousands of times, their norms followed, the paper's claims judged.
# `snakemake` runs the default study; `snakemake --configfile studies/FILE.yaml` lays another one over it.

import gc
import logging
import os
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.19")  # before what older ones do not have

from snakemake.logging import logger
from snakemake.persistence.file import FilePersistence
from snakemake.scheduling.job_scheduler import JobScheduler

from normgrowth.workflow import forks
from normgrowth.workflow.preflight import Executor, examine
from normgrowth.study.bounds import check_command_line
from normgrowth.study.study_files import default_file, laid_over, read_file
from normgrowth.study.study_files import load_study
from normgrowth.study.plan import Plan
from normgrowth.workflow.cluster import read_site
from normgrowth.errors import ClusterError, StudyError
from normgrowth.fingerprint import read_all
from normgrowth.workflow.code_edits import kept
from normgrowth.workflow.reevaluation import one_at_a_time
from normgrowth.workflow.screen import show_progress
from normgrowth.workflow.snakemake_lock import lock_of, without_lock

# Where the disk is full, what cannot be logged is lost, without a traceback of its own.
logging.raiseExceptions = False

# Without this the scheduler wakes up more often with every job that has ended.
one_at_a_time(JobScheduler)

# A graph is millions of small objects that stay: collecting garbage among them takes a quarter of the time.
gc.set_threshold(200_000, 50, 100)


# Check that profiles/default makes too, for runs without it.
check_command_line(more=[default_file()])


configfile: default_file()


# Opening text of Snakemake's own report.
report: "workflow/report/workflow.rst"


# A file of the repository, wherever the workflow runs; what a study makes stands in the working directory.
of_repository = lambda path: os.path.relpath(Path(workflow.basedir) / path)


# The software as an image, for `--sdm apptainer`; without that option the environment of `make env` is used.
container: of_repository("envs/normgrowth.sif")


try:
    if (kept_config := kept(is_job=not workflow.is_main_process)) is not None:
        config = kept_config  # a job keeps to the study of its run, whatever is edited meanwhile
    elif not workflow.config_settings.replace_workflow_config:
        # As Snakemake merges them, less what belongs to the default study alone.
        config = laid_over(read_file(default_file()), workflow.config_settings.overwrite_config)
    STUDY = load_study(config)
    SITE = read_site(Path(workflow.basedir) / "profiles" / "slurm" / "site.yaml")
except StudyError as error:
    sys.exit(str(error))  # one line for the user, no traceback
PLAN = Plan(STUDY)
config["description"] = PLAN.description  # for Snakemake's own report
if workflow.is_main_process and (notice := PLAN.notice):
    print(notice, file=sys.stderr)


# A killed run's lock is taken over, and runs of other studies go on beside this one. Files edited during the run are listed at its end.
if workflow.is_main_process:
    read_all()
    FilePersistence.lock_warn_only = without_lock
    FilePersistence.lock = lock_of(
        config | {"description": STUDY.description},
        lambda: workflow.executor_plugin,
        Path(workflow.basedir) / "workflow",
    )


# Without a cluster, jobs that ask for GPUs would share their memory: one job at a time, or as `--resources gpu=N` says.
if workflow.nodes is None and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", STUDY.gpus)


include: "workflow/rules/common.smk"
include: "workflow/rules/assets.smk"
include: "workflow/rules/editing.smk"
include: "workflow/rules/interventions.smk"
include: "workflow/rules/measuring.smk"
include: "workflow/rules/ability.smk"
include: "workflow/rules/evidence.smk"


# Before the first job is submitted to a cluster, settings that would hang or lose jobs end the run here. On this machine
# a process that has imported the libraries awaits the jobs, which last seconds less with it.
onstart:
    if workflow.executor_plugin.name == "slurm":
        told = workflow.executor_settings
        executor = Executor(told.status_command, told.init_seconds_before_status_checks, told.jobname_prefix)
        try:
            examine(PLAN, SITE, executor, Path.cwd())
        except ClusterError as error:
            sys.exit(f"normgrowth: {error}")
    elif workflow.executor_plugin.name == "local" and not workflow.deployment_settings.deployment_method:
        forks.start(STUDY.threads)
    of_machine = lambda: (
        workflow.global_resources["gpu"].value
        if STUDY.device == "cuda"
        else max(1, workflow.cores // STUDY.threads)
    )
    show_progress(logger, PLAN, Path.cwd(), workflow.nodes or of_machine())


localrules:
    all,
    tables,
    edits,
    models,
    cards,


rule all:
    default_target: True
    input:
        layout.REPORT.format(study=STUDY.study),
        FILES.kept_vectors(),


rule tables:
    input:
        expand(layout.TABLE, study=STUDY.study, table=TABLES),


rule edits:
    input:
        FILES.of_segments(layout.STATE_FILE),


rule models:
    input:
        expand(layout.MANIFEST, model=STUDY.models),


# Not part of `all`: each card costs seconds, and there is one for every run.
rule cards:
    input:
        rules.all.input,
        expand("results/{study}/cards/{run}.svg", study=STUDY.study, run=PLAN.runs),
