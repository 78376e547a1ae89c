"""Whatever happens to a file, its reader names it, or what comes out is the same to the byte."""

import os
import random
import shutil
from collections import Counter

import pytest

from tests.support.corruption import DAMAGES, as_another_study, damage, kinds, outputs, told
from tests.support.small_results import Results, run

TRIALS = 600 if os.environ.get("RUN_SLOW") == "1" else 60
SEED = 1


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """A study, and its files as another study would have them."""
    folder = tmp_path_factory.mktemp("studies")
    made = Results(folder / "one", "one", 0).make()
    return made, as_another_study(made, folder / "another")


def test_no_damage_is_taken_for_a_result(studies, tmp_path):
    found = trials(*studies, tmp_path, TRIALS, SEED)
    print(f"seed {SEED}:", ", ".join(f"{how} {outcome} {count}" for (how, outcome), count in sorted(found.items())))
    assert sum(count for (_, outcome), count in found.items() if outcome == "refused") > TRIALS / 2


@pytest.mark.slow
def test_every_command_that_reads_does_its_work_undisturbed(studies, tmp_path):
    for name, kind in kinds(studies[0]).items():
        code, errors, written = outcome_of(kind, tmp_path)
        assert code == 0 and written, f"{name}: {errors}"


def trials(made, other, folder, count, seed) -> Counter:
    """Damage one file after another, each time run the command that reads it, and count what came of it."""
    every = [(name, how) for name in kinds(made) for how in DAMAGES]
    draw, found, right = random.Random(seed), Counter(), {}
    while sum(found.values()) < count:
        for name, how in draw.sample(every, len(every)):
            if sum(found.values()) == count:
                break
            if outcome := trial(made, other, folder, name, how, draw, right):
                found[how, outcome] += 1
    return found


def trial(made, other, folder, name, how, draw, right) -> str | None:
    """What came of one damage: "refused", or "the same" where it did no harm; None where it is none."""
    kind = kinds(made)[name]
    done = damage(kind, how, made, other, draw)
    if done is None:
        return None
    try:
        code, errors, written = outcome_of(kind, folder)
    finally:
        done.undo()
    said = f"seed {SEED}, {name}, {how}, {kind.path}: exit {code}\n{errors}"
    assert "Traceback" not in errors, said
    if code == 0:
        if name not in right:
            right[name] = outcome_of(kind, folder)[2]
        assert written == right[name], f"other outputs, without a word: {said}"
        return "the same"
    lines = told(errors)
    assert code == 1 and len(lines) == 1, said
    assert any(str(path) in lines[0] or names_both(path, lines[0]) for path in done.named), said
    return "refused"


def names_both(path, line: str) -> bool:
    """A digest or a manifest that is another's is as good as a changed file: the message names both."""
    return path.name in line and str(path.parent) in line


def outcome_of(kind, folder):
    """Exit code, errors and outputs of the command that reads a file."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out").mkdir()
    code, errors = run(*kind.consumer(folder / "out"))
    return code, errors, outputs(folder / "out")
