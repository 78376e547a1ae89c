"""The study: typed models that are the one source of defaults, validation, JSON schema and reference page.

Everything here is imported whenever the workflow is parsed, so nothing here imports heavy libraries.
"""
