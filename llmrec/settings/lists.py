"""Settings of the lists: candidates, rules, what is published and what is not."""

from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from llmrec.settings.base import Settings


class Candidates(Settings):
    """How many candidates each source adds per user; 0 switches it off."""

    dense: int = Field(default=50, ge=0)
    """Nearest items to the user's vector, by the fine-tuned encoder."""
    dense_search: Literal["exact", "approximate"] = "exact"
    """approximate looks at a part of the items, with faiss (pip install "llmrec[approximate]")."""
    similar: int = Field(default=50, ge=0)
    """Nearest items to the mean vector of the user's latest ones."""
    sequential: int = Field(default=50, ge=0)
    """Items that the order of the latest ones asks for, by a small transformer over their vectors (0: not trained)."""
    lexical: int = Field(default=50, ge=0)
    """Items whose texts share telling words with the latest ones'."""
    covisitation: int = Field(default=100, ge=0)
    """Items that users with the same recent items took too."""
    userbased: int = Field(default=50, ge=0)
    """Items of the users whose items are most like the recent ones."""
    next: int = Field(default=50, ge=0)
    """Items that users take soon after the recent ones."""
    ease: int = Field(default=50, ge=0)
    """Items that the recent ones speak for in a linear model of the whole catalogue (EASE)."""
    ease_items: PositiveInt = 10_000
    """Larger catalogues go without ease: it inverts a matrix on the driver, 16 bytes for each pair of items."""
    als: int = Field(default=0, ge=0)
    """Items that a factorization of all users by all items gives the user (Spark's ALS), in ten passes over
    all events."""
    popularity: int = Field(default=30, ge=0)
    """Most taken items of the popularity window."""
    segment: int = Field(default=20, ge=0)
    """Most taken items of the popularity window among users of the same segment (users.segment)."""
    arrivals: int = Field(default=10, ge=0)
    """Items that became available last (items.available_from)."""
    again: int = Field(default=20, ge=0)
    """The user's latest items, where rules.repeat_after_days allows them."""
    supplied: int = Field(default=200, ge=0)
    """Rows of the candidates table, best source_score first."""
    pair_scored: int = Field(default=100, ge=0)
    """Of all of them, those that the pair scorer reads: the ones that the sources together rank highest. It costs
    most of a night; 0 switches it off."""
    popularity_days: PositiveInt = 30
    """Length of the popularity window before the run date, in days."""
    recent_events: PositiveInt = 20
    """Latest events of a user, liked or not, that co-visitation, next and ease look up."""
    covisitation_events: PositiveInt = 200
    """Latest events of a user that are counted for co-visitation, next and ease; bounds the cost of heavy users."""
    neighbours: PositiveInt = 200
    """Related items kept per item, of each kind."""


class Rules(Settings):
    """What may be recommended to whom."""

    repeat_after_days: int | None = Field(default=None, ge=0)
    """An item the user has had is recommended again this many days later; 0: at once; null: never."""

    min_score: float = Field(default=0.0, ge=0, le=1)
    """No item with a lower probability: lists may be shorter than score.top_n."""
    at_most: dict[Annotated[str, Field(pattern=r"^[\w. -]+$")], PositiveInt] = {}
    """How many items of a list may share a value: of category, or of a key of attributes (brand, creator, ...)."""
    diversity: float = Field(default=0.0, ge=0, le=1)
    """What being unlike the items already in the list weighs, next to the score; 0: nothing. The list is still ordered
    by score."""

    explore_share: float = Field(default=0.0, ge=0, le=0.5)
    """The chance of each place after the first to go to a new item among the candidates."""
    explore_below: PositiveInt = 10
    """An item with fewer events than this is new."""

    @property
    def repeats(self) -> bool:
        """Whether an item that a user has had is ever recommended again."""
        return self.repeat_after_days is not None

    def again_before(self, day: date) -> date | None:
        """Return the day before which the last event on an item must lie to be recommended again on ``day``."""
        return None if self.repeat_after_days is None else day - timedelta(days=self.repeat_after_days)


class Score(Settings):
    """The published lists."""

    top_n: PositiveInt = 10
    """Rows per user."""
    scene: str = "default"
    """Written to the column scene."""
    partitions: PositiveInt = 16
    """Tasks of the scoring stage; at least a few per core, so that progress shows."""
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """What BERT multiplies on a CPU; auto: int8 if the model was exported to it, else bfloat16 where that is fast, else
    float32. int8 costs quality; it is for the prefix scorer, with nothing added to the encoder: elsewhere it means the
    best floats."""
    reuse: bool = True
    """Whether users and pairs are read again only if a text or the model is another than on earlier nights, whose
    numbers are kept in the folder work; lists come out the same."""
    reuse_days: PositiveInt = 7
    """What no night has asked for in so many days is kept no longer."""
    reuse_gigabytes: PositiveFloat = 10.0
    """What is kept takes no more, and as much again for a while; users who were not there for longest go first. A tenth
    is for items."""


class Gates(Settings):
    """How far a night may be from the latest published ones of its scene; beyond that score publishes nothing and ends
    with exit code 3. null switches a bound off."""

    nights: int = Field(default=7, ge=0)
    """Earlier nights whose median is compared with, a week so that every weekday is in it; 0: none is."""
    max_fall: float | None = Field(default=0.3, ge=0, le=1)
    """Share by which a count may be lower: events, eligible users, available items, items in lists, candidates per
    user."""
    max_rise: float | None = Field(default=1.0, ge=0)
    """Share by which a count may be higher; 1: twice as high."""
    max_last_day_fall: float | None = Field(default=0.9, ge=0, le=1)
    """Share by which the events of the last day alone may be fewer, as on a holiday."""
    max_share_change: float | None = Field(default=0.2, ge=0, le=1)
    """How much a share may be higher or lower: of fallback users, of short lists, of likes among events, of rows
    without a value; 0.2: 20 percentage points."""
    max_score_shift: float | None = Field(default=0.5, ge=0)
    """How far the 10, 50 and 90 % quantiles of the scores may move, and how much nearer together they may be, in units
    of the earlier distance of the outer two."""
    max_empty: float | None = Field(default=0.5, ge=0, le=1)
    """Share of the eligible users who may get no list, whatever earlier nights had."""
    same_columns: bool = True
    """Whether columns of the tables that are read and written must be there as last night, with the same types."""
