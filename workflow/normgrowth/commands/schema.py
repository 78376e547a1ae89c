"""Show the JSON schema of a study, or write it and the reference page."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--write", action="store_true", help="write workflow/schemas and docs of the repository in this folder"
    )


def run(arguments: argparse.Namespace) -> None:
    """Generate both from the study's models."""
    from pathlib import Path

    from normgrowth.errors import StudyError
    from normgrowth.study.reference import REFERENCE_FILE, SCHEMA_FILE, reference_text, schema_text

    if not arguments.write:
        print(schema_text(), end="")
        return
    if not Path("Snakefile").is_file():
        raise StudyError("there is no Snakefile here: run this in the root of the repository")
    Path(SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")
    Path(REFERENCE_FILE).write_text(reference_text(), encoding="utf-8")
