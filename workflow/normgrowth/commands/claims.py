"""Judge the paper's claims on a study's tables."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from normgrowth.checked import Checked
from normgrowth.io.documents import write_json, write_text
from normgrowth.jobs.job import Job, from_json
from normgrowth.layout import CLAIM_TABLES, INTERVENTIONS


class RunConditions(Checked):
    """Properties of a run that published numbers depend on."""

    batch: int = Field(1, description="facts edited in one call of the editor")
    remembers: bool = Field(False, description="whether keys of earlier edits are protected")


class StudyConditions(Checked):
    """Facts, models and runs of a study, in the terms of `claims/published.yaml`."""

    facts: str | None = Field(None, description="published set of facts")
    models: dict[str, str] = Field({}, description="published name by the study's name")
    runs: dict[str, RunConditions] = Field({}, description="conditions by model/editor")


class Claims(Job):
    """The tables that claims are judged on."""

    study: str = Field(description="name of the study")
    tables: Path = Field(description="folder of the study's tables")
    seed: int = Field(0, description="seed of resampling")
    conditions: Annotated[StudyConditions, from_json(StudyConditions)] = Field(
        StudyConditions(), description="what ran, in the words of published results, as JSON"
    )
    out_json: Path = Field(description="JSON file to write")
    out_md: Path = Field(description="Markdown file to write")


def run(job: Claims) -> None:
    """Read the tables, judge every claim, write the verdicts as JSON and Markdown."""
    # pandas and scipy: kept out of planning and of --help
    from normgrowth.claims.judge import judge
    from normgrowth.claims.markdown import as_markdown
    from normgrowth.claims.published import Conditions
    from normgrowth.io.tables import read_quantised, read_results

    conditions = Conditions(**job.conditions.model_dump(exclude_unset=True))
    names = [*CLAIM_TABLES, *[INTERVENTIONS] * (job.tables / f"{INTERVENTIONS}.parquet").exists()]
    tables, quantised = read_results(job.tables, names, job.study), read_quantised(job.tables, names)
    judged = judge(tables, job.seed, conditions, quantised)
    write_json(job.out_json, judged)
    write_text(job.out_md, as_markdown(judged))
