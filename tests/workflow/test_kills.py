"""One kill of a job, of the server of jobs and of the run leaves the bytes of a run that nobody disturbed."""

import pytest

from benchmarks.kills import RULES, VICTIMS, main
from normgrowth.workflow import processes


@pytest.mark.slow
@pytest.mark.skipif(not processes.this_boot(), reason="processes of a run cannot be found here")
def test_a_killed_study_goes_on_with_the_same_command(capsys):
    assert main(trials=3, seed=1) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in (*RULES[:3], *VICTIMS)) and said.count(" same\n") == 3
