"""Activations themselves, as Parquet: one row per vector, one row group per layer, probe set and token."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from normgrowth.io.schemas import vector_schema
from normgrowth.lm.model import LanguageModel
from normgrowth.measure.activations import Probes, activations_on


def layers_named(lm: LanguageModel, layers: Sequence[int]) -> list[int]:
    """Layers as counted from the first; a negative one counts from the end. Those that the model lacks are left out."""
    depth = lm.anatomy.n_layers
    return sorted({layer % depth for layer in layers if -depth <= layer < depth})


def site_width(lm: LanguageModel, site: str) -> int:
    """Entries of one vector."""
    return lm.anatomy.down_projections[0].matrix.shape[1] if site == "mlp_key" else lm.anatomy.hidden_size


def vector_groups(
    lm: LanguageModel, probes: Probes, layers: Sequence[int], site: str, identity: dict
) -> Iterator[pa.RecordBatch]:
    """Row groups under `vector_schema`; one layer's vectors are in memory at a time.

    Args:
        identity: the identity columns.
    """
    schema = vector_schema(site_width(lm, site))
    for layer in layers:
        for where, vectors in activations_on(lm, probes, [layer], [site]).items():
            count, width = vectors.shape
            constant = identity | where._asdict()
            columns = [pa.array([constant[name]] * count, schema.field(name).type) for name in schema.names[:-2]]
            flat = pa.array(np.ascontiguousarray(vectors.numpy()).ravel(), pa.float32())
            columns += [pa.array(range(count), pa.int32()), pa.FixedSizeListArray.from_arrays(flat, width)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
