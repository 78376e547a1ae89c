"""A lock of the workflow's folder that Snakemake uses in place of its own."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from normgrowth.errors import RunError
from normgrowth.workflow.code_edits import STUDY, keep, stamps, tell_of_edits
from normgrowth.workflow.locks import folder_lock, held_in
from normgrowth.workflow.processes import variable
from normgrowth.workflow.room import is_full, without_room
from normgrowth.workflow.run_records import LOCAL


def lock_of(config: Mapping[str, Any], executor: Callable[[], Any], code: Path) -> Callable[[Any], Any]:
    """A method for Snakemake's records of a folder, in place of their `lock`.

    Snakemake's own stays behind when a run is killed, and a run that ends removes those of all others. Whatever is done
    without a lock, as dry runs and the jobs of a run are, does not come here.

    Args:
        config: the study that is run.
        executor: called once the lock is asked for; returns the plugin that runs the jobs, or None.
        code: the folder of the library and the rules.
    """
    before = stamps([code])
    planned_beside = held_in(Path(".snakemake"))

    @contextmanager
    def lock(persistence: Any) -> Iterator[None]:
        reads, writes = (set(map(str, files())) for files in (persistence.all_inputfiles, persistence.all_outputfiles))
        name, folder = getattr(executor(), "name", ""), Path(persistence.path)
        try:
            with (
                folder_lock(folder, config["study"], name, reads, writes, planned_beside),
                # Jobs on this machine are of the plan itself; what a run around this one wrote down is not their study.
                variable(STUDY, None if name in LOCAL else keep(config, folder)),
            ):
                yield
        except RunError as error:
            sys.exit(f"normgrowth: {error}")  # one line for the user, no traceback
        except Exception as error:
            if (folders := without_room()) or is_full(error):
                where = ", ".join(folders) or "a folder that this run writes to"
                line = (
                    f"normgrowth: stopped where there is next to no room: {where}. Free some, then run the same command"
                )
                print(line, file=sys.stderr, flush=True)
            if is_full(error):
                sys.exit(1)
            raise
        finally:
            tell_of_edits(before, [code])

    return lock
