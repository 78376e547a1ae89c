"""A language model by its module graph: where its parts are, reading and changing activations, tokens, generation."""
