"""Print a study's results as Markdown tables: when runs break, norms, scores and cost."""

from pathlib import Path

from pydantic import Field

from normgrowth.jobs.job import Job
from normgrowth.layout import CLAIM_TABLES


class Summary(Job):
    """The tables of a study."""

    tables: Path = Field(description="folder of the study's tables")


def run(job: Summary) -> None:
    """Read the tables and print what the report shows of them."""
    # pandas: kept out of planning and of --help
    from normgrowth.claims.markdown import weights
    from normgrowth.io.tables import read_quantised
    from normgrowth.report.cells import as_markdown
    from normgrowth.report.summaries import read_summaries

    sentences = weights(read_quantised(job.tables, CLAIM_TABLES))
    print("\n\n".join([*sentences, as_markdown(read_summaries(job.tables))]))
