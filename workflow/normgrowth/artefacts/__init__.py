"""The files of the workflow: their schemas, and the only readers and writers of them."""
