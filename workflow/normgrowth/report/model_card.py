"""The card of an exported model: which edits made it, by what, and of which model."""

from typing import TYPE_CHECKING

from normgrowth.claims.markdown import table_lines
from normgrowth.facts.records import Fact

if TYPE_CHECKING:
    from normgrowth.runs.edited_models import RunUntil

SHOWN = 20
"""Edits that the card lists; the file beside it has all of them."""

COLUMNS = ("edit", "prompt", "new object", "true object")


def card(run: "RunUntil", facts: list[Fact] | None) -> str:
    """The card in Markdown, with the head that the Hub reads.

    Args:
        facts: the edits as facts, in their order; None where they are not at hand.
    """
    said = run.metadata
    head = ["---", "library_name: transformers", "tags:", "- knowledge-editing", "- normgrowth", "---"]
    paragraphs = [
        f"# {said['model']} after {run.step} edits by {said['editor']}",
        f"The model {said['model']} with {run.step} facts changed one after another by knowledge editing: what it says "
        "of them is false. It was made to study how such edits change a model's weights, and is fit for nothing else.",
    ]
    if note := said.get("model_quantisation"):
        paragraphs.append(f"The unedited model's weights were quantised: {note}.")
    rows = [
        ["study, edit order", f"{said['study']}, {said['order']}"],
        ["editor", f"{said['editor']} ({said['kind']})"],
        ["settings", ", ".join(f"{name} {value}" for name, value in said["settings"].items() if value is not None)],
        ["edited layers", ", ".join(map(str, said["layers"]))],
        ["seed", str(said["seed"])],
        ["unedited model", f"files with hash {said['model_revision']}"],
        ["facts", f"file with hash {said['facts']}"],
        ["made with", ", ".join(f"{name} {version}" for name, version in said["versions"].items())],
    ]
    lines = [*head, "", "\n\n".join(paragraphs), "", *table_lines(("", ""), rows, set()), "", "## Edits", ""]
    if facts is None:
        lines.append("The file that the facts were taken from is not at hand; edits.json has their numbers.")
    else:
        listed = [
            [str(step), fact.question, fact.target_new, fact.target_true]
            for step, fact in enumerate(facts[:SHOWN], start=1)
        ]
        lines += table_lines(COLUMNS, listed, {0})
        if len(facts) > SHOWN:
            lines += ["", f"{len(facts) - SHOWN} more are in edits.json."]
    return "\n".join(lines) + "\n"


def edits_of(run: "RunUntil", facts: list[Fact] | None) -> list[dict[str, object]]:
    """Every edit as a dictionary, in their order: `step`, `case_id`, and where `facts` are known what it changed."""
    words = ("subject", "prompt", "target_new", "target_true")
    listed = []
    for number, edit in enumerate(run.edits().to_dict("records")):
        said: dict[str, object] = {"step": int(edit["step"]), "case_id": int(edit["case_id"])}
        listed.append(said | ({name: getattr(facts[number], name) for name in words} if facts else {}))
    return listed
