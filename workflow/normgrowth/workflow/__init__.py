"""Support of the Snakefile besides the study: locks, the fork server, the cluster, edits of code during a run."""
