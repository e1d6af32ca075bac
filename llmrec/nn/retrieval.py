"""Exact dense retrieval: the K items of the greatest inner product with each query, in bounded memory.

Scores are computed in blocks of queries by items. Few scores of a block can still enter a query's best K, and they
are found without looking at each: a block is folded to the maxima of small tiles, and only tiles whose maximum beats
the query's K-th best score so far are opened.

Shape letters: Q queries, S items, D their width, K results per query; in a block, U queries, W items, N tiles.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Vectors = Tensor | npt.NDArray[Any]
"""Floating point, (rows, D); a memory-mapped array is read where it is."""
Excluded = Sequence[npt.NDArray[np.integer[Any]]]
"""Item indexes per query."""

_QUERIES_AT_ONCE = {"cpu": 512, "cuda": 8192}
_BLOCK_BYTES = {"cpu": 8 << 20, "cuda": 1 << 30}
"""Scores of one block; on a CPU they should stay in its caches."""
_SHARD_BYTES = 1 << 30
_FEW_QUERIES = 128
"""Fewer per thread, and the product is faster with all threads on one block."""
_NO_ITEM = 0xFFFF_FFFF


class Top(NamedTuple):
    """The best items of each query, best first. Where there are fewer than K, the rest is item -1, score -inf."""

    scores: Tensor
    """(Q, K) float32."""
    items: Tensor
    """(Q, K) int64."""


class Index(Protocol):
    """Answers which items are nearest."""

    def top_k(self, queries: Tensor, k: int, *, excluded: Excluded) -> Top:
        """See `ExactIndex.top_k`."""


class ExactIndex:
    """Items to retrieve from, checked once and used by many calls."""

    def __init__(
        self,
        items: Vectors,
        *,
        allowed: npt.NDArray[np.bool_] | Tensor | None = None,
        device: torch.device | None = None,
        block_bytes: int | None = None,
        shard_bytes: int = _SHARD_BYTES,
    ) -> None:
        """Check ``items`` and move them to ``device`` if they fit.

        Args:
            items: (S, D). Those in memory or in a mapped file are used where they are if they are float32 and
                ``device`` is the CPU. Others are copied to ``device`` as float32: once if the copy takes at most
                ``shard_bytes``, else a shard of that size after the other in each call.
            allowed: (S,) False where an item must not be retrieved; None allows all.
            device: where scores are computed; where ``items`` are if None.
            block_bytes: memory for the scores of one block, one per thread. What is found in them takes as much
                again, and several times as much if nearly all scores of a block are equal.
            shard_bytes: see ``items``.

        Raises ValueError if a vector is not finite or the shapes do not fit.
        """
        if items.ndim != 2 or (allowed is not None and tuple(allowed.shape) != (len(items),)):
            shapes = f"{tuple(items.shape)} and {None if allowed is None else tuple(allowed.shape)}"
            raise ValueError(f"items and allowed must have shapes (S, D) and (S,), got {shapes}")
        where = items.device if isinstance(items, Tensor) else torch.device("cpu")
        self.device = device or where
        self._block_bytes = block_bytes or _BLOCK_BYTES.get(self.device.type, _BLOCK_BYTES["cuda"])
        self._items = items
        self._shard = max(1, shard_bytes // (4 * max(1, items.shape[1])))
        if len(items) <= self._shard:
            self._items = _floats(items, self.device)
        self._barred = None if allowed is None else ~torch.as_tensor(allowed, device=self.device)
        for start, shard in self._shards():
            _check_finite(shard, "items", start)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._items)

    @torch.inference_mode()
    def top_k(self, queries: Vectors, k: int, *, excluded: Excluded | None = None) -> Top:
        """Return the ``k`` items of the greatest inner product with each query, K = min(k, S).

        Of equal scores the lower item comes first, at the K-th place too. What is equal is decided on computed
        float32 scores: a product may round differently in a block of another shape, so vectors whose products are
        not exact in float32 can change places with one another if their scores differ in the last bits alone. The
        same call on the same machine with as many threads gives the same result.

        Args:
            queries: (Q, D), on any device.
            k: at least 0.
            excluded: items not to be retrieved, of each query.

        Returns tensors on the device of the index. Raises ValueError if a query is not finite or the shapes do not
        fit.
        """
        if queries.ndim != 2 or queries.shape[1] != self._items.shape[1]:
            shapes = f"{tuple(queries.shape)} and {tuple(self._items.shape)}"
            raise ValueError(f"queries and items must have shapes (Q, D) and (S, D), got {shapes}")
        if k < 0 or (excluded is not None and len(excluded) != len(queries)):
            named = None if excluded is None else len(excluded)
            raise ValueError(f"k must not be negative and excluded name {len(queries)} queries, got {k} and {named}")
        queries = _floats(queries, self.device)
        _check_finite(queries, "queries", 0)
        best = torch.full((len(queries), min(k, len(self))), _EMPTY, device=self.device)
        if best.numel():
            self._fill(best, queries, excluded)
        best = best.sort(1, descending=True).values
        scores = _scores(best)
        return Top(scores, torch.where(scores == -torch.inf, -1, _NO_ITEM - (best & _NO_ITEM)))

    def _fill(self, best: Tensor, queries: Tensor, excluded: Excluded | None) -> None:
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        if len(queries) < threads * _FEW_QUERIES:
            threads = 1
        most = _QUERIES_AT_ONCE.get(self.device.type, _QUERIES_AT_ONCE["cuda"])
        blocks = threads * -(-len(queries) // (threads * most))
        edges = np.linspace(0, len(queries), blocks + 1).astype(int)
        for start, shard in self._shards():  # outermost: a shard may be slow to get

            def work(first: int, last: int, start: int = start, shard: Tensor = shard) -> None:
                barred = _Barred.of(self._barred, excluded and excluded[first:last], self.device)
                self._scan(best[first:last], queries[first:last], shard, start, barred)

            _run(work, list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)), threads)

    @torch.inference_mode()  # holds for one thread
    def _scan(self, best: Tensor, queries: Tensor, shard: Tensor, start: int, barred: "_Barred") -> None:
        """Let the items of ``shard``, which begins with item ``start``, compete for ``best`` (U, K)."""
        width = min(max(1, self._block_bytes // (4 * len(queries))), len(shard))
        room = torch.empty(len(queries) * width, device=self.device)
        running = _Running(best)
        for first in range(0, len(shard), width):
            items = shard[first : first + width]
            scores = room[: len(queries) * len(items)].view(len(queries), len(items))
            torch.mm(queries, items.T, out=scores)
            barred.hide(scores, start + first)
            running.add(scores, start + first)
        running.settle()

    def _shards(self) -> Iterator[tuple[int, Tensor]]:
        for start in range(0, len(self._items), self._shard):
            yield start, _floats(self._items[start : start + self._shard], self.device)


class _Barred:
    """Items that must not be retrieved, for a block of queries."""

    def __init__(self, everywhere: Tensor | None, rows: Tensor, items: Tensor) -> None:
        """``everywhere`` (S,) bool bars items for all; ``items`` (P,), ascending, for the query of ``rows`` (P,)."""
        self._everywhere, self._rows, self._items = everywhere, rows, items
        self._places = items.cpu().numpy()

    @staticmethod
    def of(everywhere: Tensor | None, excluded: Excluded | None, device: torch.device) -> "_Barred":
        if not excluded:
            return _Barred(everywhere, torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
        items = np.concatenate(excluded).astype(np.int64)
        rows = np.repeat(np.arange(len(excluded)), [len(own) for own in excluded])
        order = np.argsort(items, kind="stable")
        return _Barred(everywhere, torch.from_numpy(rows[order]).to(device), torch.from_numpy(items[order]).to(device))

    def hide(self, scores: Tensor, start: int) -> None:
        """Give what is barred the score -inf; the columns of ``scores`` (U, W) are the items from ``start`` on."""
        end = start + scores.shape[1]
        if self._everywhere is not None:
            scores.masked_fill_(self._everywhere[start:end], -torch.inf)
        first, last = np.searchsorted(self._places, [start, end])
        scores[self._rows[first:last], self._items[first:last] - start] = -torch.inf


class _Running:
    """The best K of each of U queries over the blocks seen so far."""

    def __init__(self, best: Tensor) -> None:
        """``best`` (U, K) holds keys and is updated in place by ``settle``."""
        self._best = best
        self._cut = _scores(best.amin(1, keepdim=True))  # (U, 1): what does not beat it cannot enter
        self._waiting: list[Tensor] = []  # each (U, some): keys that beat the cut, not yet in _best
        self._edge = torch.arange(len(best) + 1, device=best.device)

    def add(self, scores: Tensor, start: int) -> None:
        """Take the block ``scores`` (U, W), whose columns are the items from ``start`` on.

        Blocks must come in ascending order of items: what only equals the cut is left out.
        """
        width = scores.shape[1]
        if fresh := bool(torch.isneginf(self._cut).any()):
            self._cut = torch.maximum(self._cut, _below_kth(scores, self._best.shape[1]))
        place = _flat_above(scores, self._cut)
        counts = torch.searchsorted(place, self._edge * width).diff()
        row = torch.repeat_interleave(self._edge[:-1], counts)
        self._wait(_keys(_take(scores.view(-1), place), place - row * width + start), row, counts)
        if fresh or sum(keys.shape[1] for keys in self._waiting) >= self._best.shape[1]:
            self.settle()

    def settle(self) -> None:
        """Bring ``best`` up to date, each row best first."""
        together = torch.cat([self._best, *self._waiting], dim=1)
        self._best.copy_(_greatest(together, self._best.shape[1]))
        self._cut = _scores(self._best.amin(1, keepdim=True))
        self._waiting = []

    def _wait(self, keys: Tensor, row: Tensor, counts: Tensor) -> None:
        if not len(keys):
            return
        padded = torch.full((len(counts), int(counts.max())), _EMPTY, device=keys.device)
        starts = counts.cumsum(0) - counts
        padded[row, torch.arange(len(keys), device=keys.device) - starts[row]] = keys
        self._waiting.append(padded)


def _below_kth(scores: Tensor, k: int) -> Tensor:
    """Return a value (U, 1) that at least ``k`` scores of each row (U, W) exceed, and not many more; -inf if W < k.

    Each of the k greatest maxima of disjoint parts of a row is a score of its own.
    """
    queries, width = scores.shape
    if width < k:
        return torch.full((queries, 1), -torch.inf, device=scores.device)
    parts = max(1, width // (3 * k))  # scores per part; more would leave more scores above, fewer are slower
    maxima = scores[:, : width // parts * parts].unflatten(1, (parts, -1)).amax(1)
    kth = maxima.topk(k, sorted=False).values.amin(1, keepdim=True)
    return torch.nextafter(kth, torch.full_like(kth, -torch.inf))


def _flat_above(values: Tensor, cut: Tensor) -> Tensor:
    """Return the places, ascending, at which the flattened ``values`` (rows, any) exceed their row's ``cut``."""
    if values.device.type == "cpu":  # several times faster than torch
        return torch.from_numpy(np.flatnonzero(values.numpy() > cut.numpy()))
    return (values > cut).view(-1).nonzero()[:, 0]


def _take(values: Tensor, places: Tensor) -> Tensor:
    if values.device.type == "cpu":
        return torch.from_numpy(values.numpy().take(places.numpy()))
    return values[places]


def _greatest(keys: Tensor, k: int) -> Tensor:
    """Return the ``k`` greatest of each row, in any order."""
    if keys.device.type == "cpu":
        return torch.from_numpy(np.partition(keys.numpy(), keys.shape[1] - k, axis=1)[:, keys.shape[1] - k :])
    return keys.topk(k, sorted=False).values


def _keys(scores: Tensor, items: Tensor) -> Tensor:
    """Return int64 that order as the best first order does: by score, then by lower item; all are distinct."""
    bits = (scores + 0.0).view(torch.int32)  # -0.0 becomes 0.0
    bits = bits ^ ((bits >> 31) & 0x7FFF_FFFF)  # integers that order as the floats
    return (bits.to(torch.int64) << 32) | (_NO_ITEM - items)


def _scores(keys: Tensor) -> Tensor:
    bits = (keys >> 32).to(torch.int32)
    return (bits ^ ((bits >> 31) & 0x7FFF_FFFF)).view(torch.float32)


_EMPTY = int(_keys(torch.tensor(-torch.inf), torch.tensor(_NO_ITEM)))
"""The key of no item, below all others."""


def _floats(vectors: Vectors, device: torch.device) -> Tensor:
    """Return ``vectors`` as float32 on ``device``, the same memory if possible."""
    if not isinstance(vectors, Tensor):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes to it
            vectors = torch.from_numpy(vectors)
    return vectors.detach().to(device, torch.float32)


def _check_finite(rows: Tensor, name: str, start: int) -> None:
    if rows.numel() and not bool(torch.isfinite(torch.stack(rows.aminmax())).all()):
        row = start + int((~rows.isfinite().all(1)).nonzero()[0])
        raise ValueError(f"{name}: row {row} holds NaN or an infinity, expected finite numbers")


def _run(work: Callable[[int, int], None], spans: list[tuple[int, int]], threads: int) -> None:
    """Call ``work`` on each span, with one thread of torch in each of ``threads`` if there are several.

    Much of a block's work is too small for torch to divide, and threads that wait for one another at the end of each
    operation lose more than those that meet once.
    """
    if threads == 1:
        for span in spans:
            work(*span)
        return
    before = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for done in [pool.submit(work, *span) for span in spans]:
            done.result()
    torch.set_num_threads(before)  # a thread's setting is also the default of those to come
