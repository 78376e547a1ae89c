"""Let a model write running text, for studies without text of their own."""

from pathlib import Path

from pydantic import Field

from normgrowth.io.documents import write_text
from normgrowth.jobs.on_model import OnModel
from normgrowth.seeds import derive


class WriteText(OnModel):
    """A model, and how much text to draw from it."""

    name: str = Field(description="name of the text; texts of other names differ")
    seed: int = Field(description="seed of the study")
    tokens: int = Field(description="tokens in all documents, at least")
    document_tokens: int = Field(description="tokens of a document")
    top_k: int = Field(description="most probable tokens that each token is drawn from")
    out: Path = Field(description="text file to write, documents separated by blank lines")


def run(job: WriteText) -> None:
    """Draw documents from the unedited model."""
    # torch: kept out of planning and of --help
    from normgrowth.lm.free_text import write_documents
    from normgrowth.lm.prompt_lengths import require_windows

    lm = job.load()
    require_windows(lm, {"document_tokens": job.document_tokens})
    seed = derive(job.seed, "text", job.name)
    documents = write_documents(lm, job.tokens, job.document_tokens, job.top_k, seed)
    write_text(job.out, "\n\n".join(documents) + "\n")
