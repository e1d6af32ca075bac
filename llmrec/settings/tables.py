"""Settings of what is read, of the tables, and of what they keep."""

from datetime import date
from typing import Literal

from pydantic import Field, PositiveInt

from llmrec.domain.table_names import table_name
from llmrec.settings.base import Settings


class Source(Settings):
    """One of the user's own tables, as it is."""

    path: str
    """Any path Spark reads, or catalog.schema.table."""
    format: Literal["csv", "json", "parquet", "delta"]
    """csv also reads TSV (options: {sep: "\\t"}); json reads JSON lines."""
    options: dict[str, str] = {}
    """Options of Spark's reader for this format."""
    columns: dict[str, str]
    """Our column -> yours: a column name or a Spark SQL expression over your columns."""


class Sources(Settings):
    """What prepare reads; events and items are needed, the others add to them."""

    events: Source | None = None
    items: Source | None = None
    users: Source | None = None
    impressions: Source | None = None


class Tables(Settings):
    """Where the tables of llmrec are."""

    location: str = "lake"
    """A folder (contains "/", or names one folder), or a catalog schema (catalog.schema)."""
    names: dict[str, str] = {}
    """Table -> its own path or catalog name, where it is not location/table."""

    def name(self, table: str) -> str:
        """Return the path or catalog name of ``table``."""
        return self.names.get(table) or table_name(self.location, table)


class Prepare(Settings):
    """How source rows are checked; a row that fails goes to quarantine."""

    earliest_event: date = date(1990, 1, 1)
    """Events before this day have an impossible time (UTC)."""
    max_text_chars: PositiveInt = 20_000
    """A longer text, in whichever column, is refused; the model reads far less."""


class Privacy(Settings):
    """What is shown of users outside the tables that need it; docs/privacy.md says where they are."""

    keep_text: bool = False
    """Whether quarantine keeps what users wrote (events.text, users.text); else it says how long it was."""
    pseudonyms: bool = False
    """Whether ids of users are replaced by keyed hashes everywhere but in recommendations (and in what you supply)."""


class Liking(Settings):
    """Which events say that a user likes an item; the others only count as seen."""

    events: list[str] = []
    """Values of the column ``event`` that count; empty: all."""
    min_value: float | None = None
    """Events with a ``value`` below this do not count; null: the value does not matter."""


class Maintain(Settings):
    """What the tables keep when maintain has run."""

    keep_days: PositiveInt = 90
    """Days before the last one that recommendations, nights, metrics, runs and quarantine keep. Vectors of an encoder
    go when it had nothing new to encode for as long."""
    keep_files_days: int = Field(default=7, ge=7)
    """Days for which a reader of an older version finds its files, and for which the folder work keeps what a killed
    run left."""
