"""Make docs/results.md: words from a template, numbers from records of finished studies.

    python docs/results/page.py record STUDY [--configfile FILE] [--config KEY=VALUE ...]
    python docs/results/page.py elsewhere STUDY
    python docs/results/page.py write
    python docs/results/page.py check

`record` reads results/STUDY and keeps its numbers, and what made them, in docs/results/STUDY.json. `elsewhere` keeps
the runs of that record to compare with, before the study is recorded anew on another machine. `write` fills the
template `page.md.j2` with all this. `check` fails where the page is not what template and records give, and says
which records were made by other code, settings or libraries than those at hand. `make results` runs the studies,
records and writes.
"""

import argparse
import json
import sys
from math import expm1, log
from pathlib import Path
from statistics import fmean, geometric_mean, median

import jinja2
import record

from normgrowth.analysis.side_by_side import COLUMNS
from normgrowth.claims.markdown import effects, in_words, number, probability, weights
from normgrowth.editors.families import PLURAL, family_of, in_order
from normgrowth.errors import NormgrowthError
from normgrowth.fingerprint import numerics

HERE = Path(__file__).parent
ELSEWHERE = HERE / "elsewhere"
GROWS = ("fine_tuning_edits_grow", "hypernetwork_edits_grow", "locate_edits_grow")
TEMPLATE, PAGE = "page.md.j2", HERE.parent / "results.md"


class Record:
    """A record as the template asks it."""

    def __init__(self, kept: dict) -> None:
        self.made_by = kept["made_by"]
        self.models = kept["models"]
        self.course = kept["course"]
        self.finding = kept.get("finding", "")
        self._kept = kept

    def run(self, model: str, editor: str, order: int = 0) -> dict:
        """Numbers of one run, as `analysis.collapse.Collapse` has them."""
        return self._only(self._kept["runs"], model=model, editor=editor, order=order)

    def run_orders(self, model: str, editor: str) -> int:
        """Number of edit orders of an editor."""
        return len([run for run in self._kept["runs"] if (run["model"], run["editor"]) == (model, editor)])

    def runs(self, model: str) -> list[dict]:
        """The runs of a model, editors in the order of their families."""
        mine = [run for run in self._kept["runs"] if run["model"] == model]
        return [run for editor in in_order({run["editor"] for run in mine}) for run in mine if run["editor"] == editor]

    def at(self, model: str, editor: str, step: int, order: int = 0) -> dict:
        """Numbers of one run at a checkpoint."""
        return self._only(self.course, model=model, editor=editor, step=step, order=order)

    def rotation(self, model: str, editor: str) -> float:
        """Largest angle, in degrees, by which an edited matrix's leading right singular vectors have turned."""
        return self._only(self._kept["rotation"], model=model, editor=editor)["right_rotation"]

    def growth(self, model: str) -> dict[str, dict]:
        """The verdict on the growth of the norm for each editor of a model, control arms left out."""
        found = [v for claim in GROWS for v in self.claim(claim)["verdicts"] if v["model"] == model]
        return {editor: v for editor in in_order({v["editor"] for v in found}) for v in found if v["editor"] == editor}

    def angles(self, model: str, family: str) -> str:
        """Least and largest rotation of a family's edited matrices, in words."""
        found = [row for row in self._kept["rotation"] if row["model"] == model and family_of(row["editor"]) == family]
        turned = [row["right_rotation"] for row in found]
        return f"{min(turned):.0f} to {max(turned):.0f}"

    def altered(self, model: str, editor: str) -> dict[tuple[str, float], float]:
        """Perplexity of the model with altered weights over the unedited one's, by arm and amount."""
        rows = [row for row in self._kept.get("altered", []) if (row["model"], row["editor"]) == (model, editor)]
        return {(row["arm"], row["amount"]): row["ratio"] for row in rows}

    def has_arm(self, arm: tuple[str, float]) -> bool:
        """Whether any run's weights were altered so."""
        return any((row["arm"], row["amount"]) == arm for row in self._kept.get("altered", []))

    @property
    def claim_names(self) -> list[str]:
        """Names of all claims, in their order."""
        return list(self._kept["claims"])

    def claim(self, name: str) -> dict:
        """Title, counts of verdicts, and verdicts."""
        return self._kept["claims"][name]

    def verdict(self, claim: str, model: str, editor: str) -> dict:
        """One verdict."""
        return self._only(self.claim(claim)["verdicts"], model=model, editor=editor)

    def measure(self, claim: str, model: str, editor: str, name: str) -> dict:
        """One of the measures beside a verdict."""
        return self._only(self.verdict(claim, model, editor)["measures"], name=name)

    def claims(self) -> list[dict]:
        """All claims that were judged."""
        return [claim for claim in self._kept["claims"].values() if claim["counts"]]

    def side_by_side(self, model: str) -> list[dict]:
        """Columns of `analysis.side_by_side` of every editor of a model at the end, least damage first."""
        return [row for row in self._kept["side_by_side"] if row["model"] == model]

    def best_explanation(self, model: str) -> str:
        """The sentence on which explanation orders the editors of a model best by damage."""
        return self._kept["explanations"][model]

    def places(self, model: str, editor: str) -> dict[str, tuple[float, float]]:
        """Norm ratio and cosine to the unedited model by place at the end of an editor's runs, mean over its orders."""
        mine = [row for row in self.course if (row["model"], row["editor"]) == (model, editor)]
        end = max(row["step"] for row in mine)
        last = [row["places"] for row in mine if row["step"] == end]
        return {
            place: (
                geometric_mean(there[place]["norm_ratio"] for there in last),
                fmean(there[place]["cosine"] for there in last),
            )
            for place in last[0]
        }

    @staticmethod
    def _only(rows: list[dict], **wanted) -> dict:
        found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
        if len(found) != 1:
            raise LookupError(f"{len(found)} rows of {wanted} in the record, not one")
        return found[0]


def side_by_side(studies: list[Record]) -> list[tuple[str, list[dict]]]:
    """Every claim that one of the studies judged: its title, and what each of them says of it."""
    rows = [[study.claim(name) for study in studies] for name in studies[0].claim_names]
    return [(row[0]["title"], row) for row in rows if any(claim["counts"] for claim in row)]


def differences(here: dict, there: dict, number: str) -> dict:
    """Relative differences of one number between two records of a study, over the runs that both have.

    Returns:
        `median` and `largest` difference, and the run of the `largest`: its `editor` and `model`.
    """
    keys = ("model", "editor", "order")
    other = {tuple(run[key] for key in keys): run[number] for run in there["runs"]}
    found = []
    for run in here["runs"]:
        values = run[number], other.get(tuple(run[key] for key in keys))
        if None not in values:
            found.append((abs(log(values[0] / values[1])), run["editor"], run["model"]))
    largest = max(found)
    middle = median(size for size, _, _ in found)
    return {"median": expm1(middle), "largest": expm1(largest[0]), "editor": largest[1], "model": largest[2]}


def page(records: dict[str, dict], elsewhere: dict[str, dict]) -> str:
    """The text of docs/results.md."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"counted": in_words, "effects": effects, "probability": probability}
    environment.filters |= {"number": _number, "percent": _percent, "family": lambda editor: PLURAL[family_of(editor)]}
    made = {name: Record(kept) for name, kept in records.items()}
    quantised = {
        model: said["quantisation"]
        for kept in records.values()
        for model, said in kept["models"].items()
        if "quantisation" in said
    }
    environment.filters["in_family_order"] = in_order
    environment.globals |= {"side_by_side": side_by_side, "columns": COLUMNS}
    machines = {
        name: {number: differences(records[name], there, number) for number in ("norm_ratio", "perplexity_ratio")}
        | {"processor": there["made_by"]["processor"], "runs": len(there["runs"])}
        for name, there in elsewhere.items()
    }
    return environment.get_template(TEMPLATE).render(records=made, weights=weights(quantised), machines=machines)


def _number(value: float | None, digits: int = 2) -> str:
    """A measured number: `digits` decimals where they say something, four significant digits elsewhere."""
    if value is None:
        return "not finite"
    return f"{value:.{digits}f}" if abs(value) < 100 else number(value)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def read_records(folder: Path = HERE) -> dict[str, dict]:
    """Every record in a folder, by the name of its study."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def stale(made_by: dict) -> list[str]:
    """Differences of code, libraries and settings between a record and now; empty for one that is up to date."""
    then = dict(entry.split("@") for entry in made_by["code"])
    beside = tuple(name for name in record.SIDE_BY_SIDE if name in then)
    now = dict(entry.split("@") for entry in record.code(made_by["settings"], beside))
    found = [f"code of {name}" for name in sorted(now) if then.get(name) != now[name]]
    found += [f"{entry} then" for entry in made_by["libraries"] if entry not in numerics()]
    try:
        settings = record.settings_of(made_by["configfile"] and Path(made_by["configfile"]), made_by["config"])
    except NormgrowthError:
        return [*found, "settings not compared: the study's inputs are not on this machine"]
    then = made_by["settings"]
    return found + [f"setting {key}" for key in sorted(then | settings) if then.get(key) != settings.get(key)]


def check() -> int:
    """Say what is out of date; 1 where the page is not what template and records give."""
    records = read_records()
    for name, made in records.items():
        if differences := stale(made["made_by"]):
            shown = ", ".join(differences[:4]) + (f" and {len(differences) - 4} more" if len(differences) > 4 else "")
            print(f"docs/results.md: the numbers of study {name} may be stale ({shown}): run `make results`")
    if PAGE.read_text(encoding="utf-8") != page(records, read_records(ELSEWHERE)):
        print("docs/results.md is not what docs/results makes: run `python docs/results/page.py write`")
        return 1
    return 0


def _one_entry_a_line(value: dict) -> str:
    """JSON whose lists of objects have a line for each, so that differences between versions can be read."""
    parts = []
    for key, inner in value.items():
        if isinstance(inner, list) and inner:
            text = "[\n  " + ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in inner) + "\n ]"
        else:
            text = json.dumps(inner, ensure_ascii=False)
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> int:
    """Run one of the four commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="keep the numbers of a finished study")
    recording.add_argument("study")
    recording.add_argument("--configfile", type=Path)
    recording.add_argument("--config", nargs="*", default=[])
    keeping = commands.add_parser("elsewhere", help="keep the runs of the present record as those of another machine")
    keeping.add_argument("study")
    commands.add_parser("write", help="make the page")
    commands.add_parser("check", help="say whether page and records are up to date")
    arguments = parser.parse_args()
    if arguments.command == "check":
        return check()
    if arguments.command == "record":
        made = record.record(arguments.study, arguments.configfile, arguments.config)
        (HERE / f"{arguments.study}.json").write_text(_one_entry_a_line(made), encoding="utf-8")
    elif arguments.command == "elsewhere":
        kept = read_records()[arguments.study]
        kept = {"made_by": {"processor": kept["made_by"]["processor"]}, "runs": kept["runs"]}
        (ELSEWHERE / f"{arguments.study}.json").write_text(_one_entry_a_line(kept), encoding="utf-8")
    else:
        PAGE.write_text(page(read_records(), read_records(ELSEWHERE)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
