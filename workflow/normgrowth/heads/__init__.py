"""Runs of the workflow that share a folder: their locks, their processes, and the room on disk."""
