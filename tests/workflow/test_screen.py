"""A run shows its plan, what failed, and how far it has come; what single jobs do stands in Snakemake's log."""

import logging
import re
import time

import pytest
from snakemake.logging import DefaultFilter
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from normgrowth.study.plan import Plan
from normgrowth.study.study_files import read_study
from normgrowth.workflow import screen
from tests.workflow.conftest import ROOT

MOST_LINES = 60


def test_a_run_shows_few_lines_and_logs_all(tree):
    tree.change_config(edits=150)
    run = tree.snakemake("--cores", "2")
    assert run.returncode == 0, run.stdout
    assert len(run.stdout.splitlines()) < MOST_LINES and "Job stats:" in run.stdout
    assert not re.search(r"^(Job \d|Reason|Select|Execute)", run.stdout, re.MULTILINE)
    (log,) = re.findall(r"Complete log\(s\): (\S+)", run.stdout)
    with open(log) as file:
        told = file.read()
    assert len(re.findall(r"^Job \d+: ", told, re.MULTILINE)) > 10 and "Reason: " in told


def test_a_run_shows_what_failed(tree):
    tree.change_config(edits=150)
    (tree.folder / "bin/normgrowth").write_text("#!/bin/sh\necho 'the editor is out of order' >&2\nexit 1\n")
    run = tree.snakemake("--cores", "2")
    assert run.returncode != 0
    assert "Error in rule edit" in run.stdout and "the editor is out of order" in run.stdout


def test_commands_are_shown_to_those_who_ask_for_them(tree):
    tree.change_config(edits=150)
    shown = tree.snakemake("--cores", "2", "--printshellcmds").stdout
    assert re.search(r"^Job \d+: ", shown, re.MULTILINE) and "normgrowth edit" in shown


def logger_of(quiet=(), verbose=False) -> logging.Logger:
    """A logger with Snakemake's handler for the screen."""
    logger, handler = logging.Logger("snakemake"), logging.StreamHandler()
    handler.name = "DefaultStreamHandler"
    handler.addFilter(DefaultFilter(set(quiet), False, verbose, False, False))
    logger.addHandler(handler)
    return logger


def test_lines_count_jobs_and_work_and_come_where_something_was_done(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(screen, "SECONDS", 0.02)
    monkeypatch.setattr(screen, "COST", 1.0)
    logger = logger_of()
    plan = Plan(read_study(ROOT / "config.yaml"))
    screen.show_progress(logger, plan, tmp_path, 2)
    logger.info("begun", extra={"event": LogEvent.JOB_STARTED})
    logger.info("", extra={"event": LogEvent.PROGRESS, "done": 43, "total": 172})
    logger.info("Select jobs to execute...")
    logger.error("failed", extra={"event": LogEvent.JOB_ERROR})
    deadline = time.monotonic() + 10
    said = ""
    while "43 of 172 jobs" not in said and time.monotonic() < deadline:
        said += capsys.readouterr().err
        time.sleep(0.02)
    assert re.search(r"^0:0\d  43 of 172 jobs; demo: 0 of 2,500 edits, 0 of 66 measurements, time left not", said, re.M)
    assert "failed" in said and "begun" not in said and "Select" not in said
    time.sleep(0.3)
    assert "jobs" not in capsys.readouterr().err  # nothing was done since


@pytest.mark.parametrize("asked", [{"verbose": True}, {"quiet": [Quietness.RULES]}])
def test_who_asks_for_more_or_less_gets_that(asked, tmp_path):
    logger = logger_of(**asked)
    assert screen.show_progress(logger, Plan(read_study(None)), tmp_path, 2) is None
    assert len(logger.handlers[0].filters) == 1
