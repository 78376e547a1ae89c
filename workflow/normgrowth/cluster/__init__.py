"""What is particular to a cluster: looking at its scheduler before a run, and at a run while it goes on."""
