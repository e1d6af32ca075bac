"""The ratings of the rating benchmark, dealt out."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from llmrec.nn.biases import Rated
from llmrec.nn.rating_model import fit_plain_biases


@dataclass(frozen=True)
class Market:
    """One folder of files, dealt out."""

    items: pd.DataFrame
    learned: Rated
    valid: Rated
    test: Rated
    seed: int

    @classmethod
    def read(cls, folder: Path, seed: int, users: int | None = None) -> "Market":
        """Read ``folder`` and deal ratings out by ``seed``; of the first ``users`` users, if that is given."""
        items = pd.read_parquet(folder / "items.parquet")
        items = items[["item_id", "title", "text", "category", "type"]].fillna("")
        raw = pd.read_parquet(folder / "interactions.parquet").dropna(subset="rating")
        if users:
            raw = raw[raw["user_id"].isin(raw["user_id"].unique()[:users])]
            items = items[items["item_id"].isin(raw["item_id"])].reset_index(drop=True)
        item = pd.Index(items["item_id"]).get_indexer(raw["item_id"])
        user, names = pd.factorize(raw["user_id"])
        rng = np.random.default_rng(seed)
        kind = rng.permutation(len(items)) * 10 // len(items)  # 0: new; 1: new to what is learned
        chance = rng.random(len(raw))
        of_test = np.where(kind[item] < 2, kind[item] == 0, chance < 0.1)
        of_valid = np.where(kind[item] < 2, kind[item] == 1, chance > 0.9)

        def part(rows: np.ndarray) -> Rated:
            rating = raw["rating"].to_numpy(np.float64)
            return Rated(len(names), len(items), user[rows], item[rows], rating[rows])

        items["text"] = [". ".join(filter(None, one)) for one in zip(
            items["title"], items["type"], items["category"], items["text"], strict=True)]  # fmt: skip
        return cls(items, part(~of_test & ~of_valid), part(of_valid), part(of_test), seed)

    @cached_property
    def groups(self) -> np.ndarray:
        """1 where an item has a category or is of a type, (I, G)."""
        named = (
            self.items["category"].str.get_dummies(", ").add_prefix("category "),
            self.items["type"].str.get_dummies(),
        )
        return pd.concat(named, axis=1).to_numpy(np.float64)

    def clip(self, ratings: np.ndarray) -> np.ndarray:
        """Cut ratings to the scale of the learned ones."""
        return ratings.clip(self.learned.rating.min(), self.learned.rating.max())

    @cached_property
    def is_new(self) -> np.ndarray:
        """Which items have no learned rating, (I,)."""
        return np.bincount(self.learned.item, minlength=len(self.items)) == 0

    @cached_property
    def above(self) -> np.ndarray:
        """Learned ratings less the mean and their users' biases, (R,)."""
        return self.learned.rating - self._of_users[self.learned.user]

    @cached_property
    def valid_above(self) -> np.ndarray:
        """Validation ratings less the same, (R,)."""
        return self.valid.rating - self._of_users[self.valid.user]

    @cached_property
    def _of_users(self) -> np.ndarray:
        plain = fit_plain_biases(self.learned, self.valid)
        return plain.mean + plain.of_users
