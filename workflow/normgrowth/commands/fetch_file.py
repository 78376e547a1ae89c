"""Fetch a file of facts or text that is pinned by its hash."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--url", required=True, help="address of the file, http or https")
    parser.add_argument("--sha256", required=True, help="SHA-256 of the file, in hexadecimal")
    parser.add_argument("--bytes", type=int, default=None, help="size of the file, checked before it is fetched")
    parser.add_argument("--out", required=True, type=Path, help="file to write")


def run(arguments: argparse.Namespace) -> None:
    """Fetch it, or go on with what an earlier run had to leave."""
    from normgrowth.sources.downloads import download

    download(arguments.url, arguments.out, arguments.sha256, arguments.bytes)
