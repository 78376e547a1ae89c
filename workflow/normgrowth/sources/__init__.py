"""Sources of models, facts and text: the Hub, pinned files of the web, local files, model folders, toy models."""
