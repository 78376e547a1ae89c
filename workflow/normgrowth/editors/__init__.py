"""The editors: one short file each over shared parts.

An editor's file (`ft.py`, `memit.py`, ...) declares its `Settings` and `build(settings)`,
which returns the `Editor`. These files import no torch at module level, so that the workflow can read
settings while it builds its graph.
"""
