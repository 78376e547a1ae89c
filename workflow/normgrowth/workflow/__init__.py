"""What the Snakefile needs besides the study: locks, room on disk, the fork server, the scheduler."""
