"""What the report says, as plain values small enough for the driver."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

OURS = "llmrec"
NEW_USERS, NEW_ITEMS = "new users", "new items"
ABLATION = "without-"
"""How the names of systems begin that are ours without a signal."""
NOT_ACCURACY = ("coverage", "novelty", "diversity")
METRIC_ORDER = ("NDCG", "HR", "recall", "precision", "F1", "MRR", "MAP", "AUC", *NOT_ACCURACY)


@dataclass(frozen=True)
class Metric:
    """One row of the table ``metrics``."""

    system: str
    metric: str
    segment: str
    value: float
    k: int | None = None
    low: float | None = None
    high: float | None = None
    users: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """The latest run of evaluate."""

    run_date: date | None
    model_version: str | None
    rows: tuple[Metric, ...]
    noisy: Mapping[str, int] | None = None
    """How many users were new and how many took a new item, with noise; None: the rows say it."""

    def judged_on(self, segment: str) -> int:
        """Return how many users our lists were judged by on a segment of cold start."""
        if self.noisy is not None:
            return self.noisy[segment]
        row = self.find(OURS, "NDCG", self.k, segment)
        return (row.users or 0) if row else 0

    def find(self, system: str, metric: str, k: int | None = None, segment: str = "all") -> Metric | None:
        """Return the row asked for, None if evaluate did not write it."""
        wanted = (system, metric, k, segment)
        return next((row for row in self.rows if (row.system, row.metric, row.k, row.segment) == wanted), None)

    def by_segment(self, metric: str) -> list[Metric]:
        """Return all rows of ``metric``, ordered by segment."""
        return sorted((row for row in self.rows if row.metric == metric), key=lambda row: (row.segment, row.k or 0))

    @property
    def ks(self) -> list[int]:
        """The list lengths judged."""
        return sorted({row.k for row in self.rows if row.metric in METRIC_ORDER and row.k is not None})

    @property
    def k(self) -> int | None:
        """The list length of the headline: 10 where it was judged, else the middle one."""
        return 10 if 10 in self.ks else self.ks[len(self.ks) // 2] if self.ks else None

    @property
    def systems(self) -> list[str]:
        """The systems judged, but for ablations: ours first, then by NDCG, best first."""
        return [name for name in self._by_ndcg() if not name.startswith(ABLATION)]

    @property
    def ablations(self) -> list[str]:
        """Ours, then ours without a signal each, those that lose least first."""
        return [name for name in self._by_ndcg() if name == OURS or name.startswith(ABLATION)]

    def _by_ndcg(self) -> list[str]:
        names = {row.system for row in self.rows if row.metric in METRIC_ORDER}
        found = {name: self.find(name, "NDCG", self.k) for name in names}
        ndcg = {name: row.value for name, row in found.items() if row is not None}
        return sorted(names, key=lambda name: (name != OURS, -ndcg.get(name, 0.0), name))


@dataclass(frozen=True)
class Published:
    """The recommendations of one run date."""

    run_date: date
    rows: int
    users: int
    items: int
    """Different items in them."""
    shortest: int
    longest: int
    """Rows of a user's list."""
    catalogue: int
    """Items available on the run date."""
    model_versions: tuple[str, ...]
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class SegmentCount:
    """Users of one segment."""

    segment: str | None
    """None: those who have none."""
    users: int
    """Who got a list; with noise, where the page says so."""


@dataclass(frozen=True)
class Decile:
    """A tenth of the catalogue by popularity."""

    recommended: float
    """Share of the recommended rows."""
    taken: float
    """Share of the events before the run date."""


@dataclass(frozen=True)
class StageTime:
    """One stage of the latest run of a job."""

    job: str
    stage: str
    status: str
    seconds: float
    started_at: datetime
    rows_in: int | None = None
    rows_out: int | None = None


@dataclass(frozen=True)
class Suggestion:
    """One recommended item."""

    rank: int
    title: str
    score: float
    reason: str


@dataclass(frozen=True)
class SampleUser:
    """A user shown as an example."""

    user: str
    segment: str | None
    liked: tuple[str, ...]
    """Titles, the latest first."""
    suggestions: tuple[Suggestion, ...]


@dataclass(frozen=True)
class Facts:
    """Everything on the page."""

    published: Published
    evaluation: Evaluation | None
    sources: tuple[tuple[str, float], ...]
    """Source and its share of the recommended rows, the largest first; a row may have several sources."""
    deciles: tuple[Decile, ...]
    """The most popular tenth of the items first; empty without events."""
    stages: tuple[StageTime, ...]
    """In the order they ran."""
    samples: tuple[SampleUser, ...]
    config_sha: str
    written_at: datetime
    segments: tuple[SegmentCount, ...] = ()
    """The largest first; empty where no user has one."""
    epsilon: float | None = None
    """Of the noise of the counts of users by segment; None: there is no noise."""
