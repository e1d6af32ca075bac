"""Approximate dense retrieval with faiss: the call of ``nn.retrieval``, answered from a part of the items.

The items are clustered once a night, and a query is compared with those of its nearest clusters alone: for catalogues
so large that the exact search takes too long. faiss is installed with ``llmrec[approximate]``.
"""

import importlib.util
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from llmrec.errors import ConfigError
from llmrec.nn.catalogue import Bools, Floats
from llmrec.nn.retrieval import Excluded, Top

_FILE = "vectors.faiss"
_PROBES = 32
"""Clusters that a query is compared with."""
_AT_ONCE = 100_000
_SAMPLE = 64
"""Items per cluster that the clusters are found from; faiss wants at least 39."""


def require_faiss() -> None:
    """Raise ConfigError unless faiss is installed."""
    if importlib.util.find_spec("faiss") is None:
        raise ConfigError(
            "candidates.dense_search is approximate, which needs faiss, and it is not installed; expected "
            'pip install "llmrec[approximate]" here and on the executors, or dense_search: exact'
        )


def write_index(folder: Path, vectors: Floats, available: Bools) -> None:
    """Cluster those of the items, vectors (S, D), that are ``available`` (S,), and write them to ``folder``."""
    import faiss

    ids, width = np.flatnonzero(available), vectors.shape[1]
    clusters = max(1, min(int(4 * len(ids) ** 0.5), len(ids) // 39))  # usual with faiss: a few times the square root
    index: Any = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, clusters, faiss.METRIC_INNER_PRODUCT)
    sample = ids[np.linspace(0, len(ids) - 1, min(len(ids), _SAMPLE * clusters)).astype(np.int64)]
    if len(ids):
        index.train(vectors[sample])
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        index.add_with_ids(vectors[some], some)
    part = folder / f"{_FILE}.part"  # half an index is none; and the file may be a link to that of another catalogue
    faiss.write_index(index, str(part))
    part.replace(folder / _FILE)


def open_index(folder: Path) -> "ApproximateIndex | None":
    """Map the index that stands in ``folder``; None where there is none."""
    path = folder / _FILE
    return ApproximateIndex(path) if path.is_file() else None


class ApproximateIndex:
    """Clustered items to retrieve from, on the CPU; the file is mapped, so workers of a host share its pages."""

    def __init__(self, path: Path) -> None:
        import faiss

        self._index = cast(Any, faiss.read_index(str(path), faiss.IO_FLAG_MMAP))
        self._index.nprobe = _PROBES

    def top_k(self, queries: Tensor, k: int, *, excluded: Excluded) -> Top:
        """Return about the ``k`` best items of each query (Q, D); see `ExactIndex.top_k`."""
        k = min(k, self._index.ntotal)
        if not k or not len(queries):
            return Top(torch.full((len(queries), k), -torch.inf), torch.full((len(queries), k), -1))
        more = max(len(own) for own in excluded)
        scores, items = self._index.search(queries.float().cpu().numpy(), min(k + more, self._index.ntotal))
        for own, row in zip(excluded, items, strict=True):
            row[np.isin(row, own)] = -1
        scores[items < 0] = -np.inf
        best = np.lexsort((items, -scores), axis=1)[:, :k]
        return Top(*(torch.from_numpy(np.take_along_axis(part, best, axis=1)) for part in (scores, items)))
