"""Second moments of keys and their null spaces."""
