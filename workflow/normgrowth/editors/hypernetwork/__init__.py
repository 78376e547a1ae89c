"""Hypernetworks that turn gradients into edits, and their training."""
