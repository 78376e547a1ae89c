"""The report page: claims, figures, tables and provenance in one file that needs no network."""
