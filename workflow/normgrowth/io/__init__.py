"""Files of the workflow: schemas, the only readers and writers of tables, tensors and documents, and their digests."""
