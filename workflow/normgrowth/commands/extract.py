"""Write the activations themselves of a model after some of its edits."""

from pathlib import Path

from pydantic import Field

from normgrowth.jobs.at_checkpoint import Measuring


class Extract(Measuring):
    """A checkpoint, and the places whose activations are kept."""

    layers: tuple[int, ...] = Field(description="layers; negative ones from the end")
    sites: tuple[str, ...] = Field(description="sites; each has a file")
    out: Path = Field(description="folder to write the files to")


def run(job: Extract) -> None:
    """Bring the model to the step and write one file for each site."""
    # torch: kept out of planning and of --help
    from normgrowth.io.schemas import vector_schema
    from normgrowth.io.tables import write_row_groups
    from normgrowth.measure.activations import layers_named, site_width, vector_groups
    from normgrowth.measure.material import require_material
    from normgrowth.runs.state import restore

    chosen = job.run()
    material, metadata = job.material(chosen)
    lm = job.load()
    require_material(lm, material)
    if job.segments:
        restore(lm, job.run_folder(), job.segments, chosen.expected)
    metadata["state"] = job.digest_of_state()
    probes, layers = material.probes(lm), layers_named(lm, list(job.layers))
    identity = {**chosen.identity, "step": job.step}
    for site in job.sites:
        groups = vector_groups(lm, probes, layers, site, identity)
        write_row_groups(job.out / f"{site}.parquet", vector_schema(site_width(lm, site)), groups, metadata)
