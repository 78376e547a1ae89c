"""What commands that follow an edit order share."""

import argparse

from normgrowth.io.documents import intact


def add_order(parser: argparse.ArgumentParser) -> None:
    """What fixes an edit order besides its number."""
    parser.add_argument("--facts", required=True, type=intact, help="facts file, a JSON list of CounterFact records")
    parser.add_argument("--seed", required=True, type=int, help="seed of the study")
    parser.add_argument("--unique-subjects", action="store_true", help="edit no subject twice in an order")
    parser.add_argument("--reserved", type=int, default=0, help="facts kept out of all orders (default: 0)")


def facts_and_order(arguments: argparse.Namespace):
    """All facts, and those of the edit order that `add_identity`'s and `add_order`'s arguments name, in its order."""
    from normgrowth.facts.orders import edit_order
    from normgrowth.facts.records import read_facts

    facts = read_facts(arguments.facts)
    return facts, edit_order(facts, arguments.seed, arguments.order, arguments.unique_subjects, arguments.reserved)
