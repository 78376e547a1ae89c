"""Judge the paper's claims on a study's tables."""

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--tables", required=True, type=Path, help="folder of the study's tables")
    parser.add_argument("--seed", type=int, default=0, help="seed of resampling (default: 0)")
    parser.add_argument("--conditions", default="{}", help="what ran, in the words of published results, as JSON")
    parser.add_argument("--out-json", required=True, type=Path, help="JSON file to write")
    parser.add_argument("--out-md", required=True, type=Path, help="Markdown file to write")


def run(arguments: argparse.Namespace) -> None:
    """Read the tables, judge every claim, write the verdicts as JSON and Markdown."""
    from normgrowth.claims.judge import judge
    from normgrowth.claims.markdown import as_markdown
    from normgrowth.claims.published import Conditions
    from normgrowth.io.documents import write_json, write_text
    from normgrowth.io.tables import read_results
    from normgrowth.layout import CLAIM_TABLES, INTERVENTIONS

    conditions = Conditions(**json.loads(arguments.conditions))
    names = [*CLAIM_TABLES, *[INTERVENTIONS] * (arguments.tables / f"{INTERVENTIONS}.parquet").exists()]
    judged = judge(read_results(arguments.tables, names, arguments.study), arguments.seed, conditions)
    write_json(arguments.out_json, judged)
    write_text(arguments.out_md, as_markdown(judged))
