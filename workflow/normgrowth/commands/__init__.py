"""One command per rule of the workflow: a typed job in, a library call, files out."""
