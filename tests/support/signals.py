"""Processes that heed Ctrl-C, as those of a terminal do: what a shell starts in the background ignores it."""

import signal

HEEDED = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
"""Options of a subprocess."""
