"""JSON files of facts: reading a list of records, and refusing anything else with what it is and the remedy."""

import json
import math
from pathlib import Path

import regex

from normgrowth.errors import FactError
from normgrowth.io.encodings import read_unicode

_HALF_CHARACTER = regex.compile(r"\\u[dD][89a-fA-F]")


def read_records(path: Path | str) -> list[dict]:
    """The raw records of a facts file: a non-empty JSON list.

    Raises:
        FactError: when the file is missing or holds something else.
    """
    text = read_unicode(path, "facts file", FactError)
    records = _parsed(text, path)
    if not isinstance(records, list) or not records:
        raise FactError(f"{path} must hold a non-empty JSON list of records, {_instead(records)}")
    if _HALF_CHARACTER.search(text):
        for index, record in enumerate(records):
            _check_characters(record, f"{path}: record {index}")
    return records


def _parsed(text: str, path: Path | str) -> object:
    def refuse(constant: str) -> None:
        raise FactError(f"{path} is not JSON: it holds {constant}, which JSON does not know; write null")

    def number(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            raise FactError(f"{path}: the number {digits[:40]} is too large")
        return value

    def record(pairs: list[tuple[str, object]]) -> dict:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise FactError(f"{path} holds an object with the key {twice!r} twice: which value counts is not said")
        return found

    try:
        return json.loads(text, object_pairs_hook=record, parse_constant=refuse, parse_float=number)
    except json.JSONDecodeError as error:
        if not text.strip():
            raise FactError(f"{path} is not JSON: it is empty") from error
        if error.msg == "Extra data":
            raise FactError(
                f"{path} is not JSON but several JSON values one after another (JSON Lines?), from line {error.lineno} "
                "on: make it one list with `jq -s . FILE`"
            ) from error
        raise FactError(f"{path} is not JSON: {error}") from error
    except RecursionError as error:
        raise FactError(f"{path}: its lists and objects are nested too deeply for records") from error
    except ValueError as error:  # Python reads no integer of thousands of digits
        raise FactError(f"{path} holds a number that is too large: {error}") from error


def _instead(value: object) -> str:
    """Description of what a file holds in place of a list of records, as the end of a message."""
    if isinstance(value, list):
        return "but its list is empty"
    if not isinstance(value, dict):
        return f"but it holds {json_kind(value)}"
    lists = [name for name, inner in value.items() if isinstance(inner, list) and inner and isinstance(inner[0], dict)]
    if {"requested_rewrite", "src"} & value.keys():
        return "but it holds a single record: put it into brackets"
    if lists:
        return f"but it holds an object with the list under {lists[0]!r}: take it out with `jq '.{lists[0]}' FILE`"
    if value and all(isinstance(inner, dict) for inner in value.values()):
        return "but it holds an object with a record under each key: take them out with `jq '[.[]]' FILE`"
    return "but it holds an object"


def json_kind(value: object) -> str:
    """A value's type in the words of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {dict: "an object", list: "a list", str: "a text", int: "a whole number", float: "a number with a point"}
    return names[type(value)]


def _check_characters(record: object, where: str) -> None:
    """Refuse halves of characters (lone surrogates), which JSON can spell and no file or tokenizer can hold.

    Raises:
        FactError: naming the record.
    """
    try:
        json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise FactError(f"{where} holds {half}, one half of a character: write the character itself") from error
