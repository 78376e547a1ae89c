"""Where models, facts and text come from: the Hub, pinned files of the web, local files; and a model folder's files."""
