"""The lists of the click benchmark, dealt out, and how well scores order them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from llmrec.domain.metrics import auc, user_metrics

METRICS = ("AUC", "MRR", "NDCG@5", "NDCG@10")
_FEW = 5.0
"""A click rate is drawn to the mean as if by so many showings."""


@dataclass(frozen=True)
class Lists:
    """One folder of files; items and users are places."""

    items: pd.DataFrame
    shown: pd.DataFrame
    """request, user, item, position, clicked, part (train, valid or test)."""
    histories: list[np.ndarray]
    """Of each user."""

    @classmethod
    def read(cls, folder: Path, seed: int, users: int | None = None) -> "Lists":
        """Read ``folder`` and deal each user's lists out by ``seed``; of the first ``users`` users, if given."""
        items = pd.read_parquet(folder / "items.parquet")[["item_id", "title", "text"]].fillna("")
        raw = pd.read_parquet(folder / "impressions.parquet")
        if users:
            raw = raw[raw["user_id"].isin(raw["user_id"].unique()[:users])]
        names = pd.Index(items["item_id"])
        user, found = pd.factorize(raw["user_id"])
        requests = raw.assign(user=user).drop_duplicates("impression_id")[["impression_id", "user"]]
        order = requests.sample(frac=1, random_state=seed).groupby("user").cumcount()
        part = order.map({0: "test", 1: "valid"}).fillna("train").rename("part")
        parts = requests[["impression_id"]].join(part).set_index("impression_id")["part"]
        shown = pd.DataFrame({
            "request": raw["impression_id"], "user": user, "item": names.get_indexer(raw["item_id"]),
            "position": raw["position"].astype(int), "clicked": raw["clicked"].astype(bool),
            "part": raw["impression_id"].map(parts),
        })  # fmt: skip
        texts = raw.assign(user=user).drop_duplicates("user").sort_values("user")["history"].fillna("")
        histories = [names.get_indexer(one.split()) for one in texts]
        items["text"] = items["title"] + ". " + items["text"]
        gone = (shown["item"] < 0).sum()
        print(f"{len(parts):,} lists of {len(found):,} users; {gone} rows of items that are not there, left out")
        return cls(items, shown[shown["item"] >= 0], [one[one >= 0].astype(np.int32) for one in histories])

    def part(self, name: str) -> pd.DataFrame:
        """Return the rows of train, valid or test."""
        return self.shown[self.shown["part"] == name].reset_index(drop=True)

    @cached_property
    def rates(self) -> pd.Series:
        """The share of clicks of what was learned from, by position."""
        return self.part("train").groupby("position")["clicked"].mean()

    def counts(self, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return scores that need no text: the position's and the item's share of clicks, in what was learned from."""
        train, mean = self.part("train"), self.part("train")["clicked"].mean()
        by_item = train.assign(due=train["position"].map(self.rates)).groupby("item").agg(
            shown=("clicked", "size"), clicked=("clicked", "sum"), due=("due", "sum")
        )  # fmt: skip
        rate = (by_item["clicked"] + _FEW * mean) / (by_item["shown"] + _FEW)
        beyond = (by_item["clicked"] + _FEW * mean) / (by_item["due"] + _FEW * mean)
        return {
            "position": rows["position"].map(self.rates).fillna(mean).to_numpy(),
            "clicks of the item": rows["item"].map(rate).fillna(mean).to_numpy(),
            "the same, over those due to positions": rows["item"].map(beyond).fillna(1.0).to_numpy(),
        }


def measure(rows: pd.DataFrame, scores: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Return METRICS of each list in which something was clicked and something not, by request."""
    order = np.lexsort((rng.random(len(rows)), -scores))
    found = {}
    for request, own in rows.iloc[order].groupby("request", sort=True):
        ranked, relevant = own["item"].tolist(), set(own.loc[own["clicked"], "item"])
        if 0 < len(relevant) < len(ranked):
            figures = user_metrics(ranked, relevant, [5, 10])
            found[request] = [
                auc(ranked, relevant, len(ranked)), user_metrics(ranked, relevant, [len(ranked)])["MRR", len(ranked)],
                figures["NDCG", 5], figures["NDCG", 10],
            ]  # fmt: skip
    return pd.DataFrame.from_dict(found, orient="index", columns=list(METRICS))


def place_in_scores(rows: pd.DataFrame, scores: np.ndarray) -> float:
    """Return by how many spreads of scores the upper half of a list is scored higher than the lower, on average."""
    table = rows.assign(score=scores)
    upper = table["position"] < (table.groupby("request")["position"].transform("max") + 1) / 2
    centred = table["score"] - table.groupby("request")["score"].transform("mean")
    return float((centred[upper].mean() - centred[~upper].mean()) / max(centred.std(), 1e-12))
