"""Tests of the graph: what the real scheduler decides, with commands that only leave files behind."""
