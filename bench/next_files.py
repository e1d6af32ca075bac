"""Makes the files that bench.next_item and bench.peers read from a table of interactions and one of items.

    .venv/bin/python -m bench.next_files --data FOLDER --out FOLDER [--liked RATING] [--targets K] [--users N]

FOLDER holds interactions (user_id, item_id, and of timestamp, seq, rating what there is) and items (item_id, title,
text, and of category, brand, director what there is) as Parquet. Each of N users has the K latest interactions as
targets of test rows and the K before as those of valid rows, every row with what the user took before it; all other
interactions are of the training period. Ratings below --liked are left out. Without times and order, the order of a
user's interactions is drawn.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

LONGEST = 50
"""Items of a row's history, the latest ones."""


def main() -> int:
    """Read, split, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="interactions and items, as Parquet")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the files go")
    parser.add_argument("--liked", type=float, default=4, metavar="RATING", help="the least rating that counts")
    parser.add_argument("--targets", type=int, default=1, metavar="K", help="rows of a user in valid, and in test")
    parser.add_argument("--users", type=int, default=5000, metavar="N", help="with rows, at most; drawn")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    _items(pd.read_parquet(args.data / "items.parquet")).to_parquet(args.out / "items.parquet")
    taken = _in_order(pd.read_parquet(args.data / "interactions.parquet"), args.liked)
    events, *rows = split(taken, args.targets, args.users)
    events.to_parquet(args.out / "events.parquet")
    print(f"{args.out}: {len(events):,} events, {events['user_id'].nunique():,} users")
    for name, part in zip(("valid", "test"), rows, strict=True):
        part.assign(row_id=[f"{name}-{place}" for place in range(len(part))]).to_parquet(args.out / f"{name}.parquet")
        print(f"{name}: {len(part):,} rows")
    return 0


def split(taken: pd.DataFrame, targets: int, users: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the events (user_id, item_id, position, period) and the rows of valid and test.

    Args:
        taken: user_id, item_id; a user's in order.
        targets: rows of a user in each of valid and test.
        users: those with rows, at most.
    """
    own = taken.groupby("user_id")
    able = taken.loc[own["item_id"].transform("size") > 2 * targets, "user_id"].drop_duplicates()
    judged = taken["user_id"].isin(able.sample(min(users, len(able)), random_state=1))
    left = own.cumcount(ascending=False)
    period = np.select([judged & (left < targets), judged & (left < 2 * targets)], ["test", "valid"], "train")
    taken = taken.assign(position=own.cumcount(), period=period)
    history = {name: one.tolist() for name, one in taken.groupby("user_id")["item_id"]}

    def rows(part: str) -> pd.DataFrame:
        found = taken[taken["period"] == part]
        before = [
            history[user][max(place - LONGEST, 0) : place]
            for user, place in zip(found["user_id"], found["position"], strict=True)
        ]
        return pd.DataFrame({"user_id": found["user_id"], "history": before, "target": found["item_id"]})

    events = taken.loc[taken["period"] != "test", ["user_id", "item_id", "position", "period"]]
    return events, rows("valid"), rows("test")


def _in_order(raw: pd.DataFrame, liked: float) -> pd.DataFrame:
    """Return what users took, each item once, a user's in order."""
    if "rating" in raw:
        raw = raw[raw["rating"].isna() | (raw["rating"] >= liked)]
    known = [name for name in ("timestamp", "seq") if name in raw and raw[name].notna().any()]
    ordered = raw.sort_values(known, kind="stable") if known else raw.sample(frac=1, random_state=1)
    ordered = ordered.drop_duplicates(["user_id", "item_id"])
    return ordered.sort_values("user_id", kind="stable", ignore_index=True)[["user_id", "item_id"]]


def _items(raw: pd.DataFrame) -> pd.DataFrame:
    """Return item_id, title, text, brand (or who directed) and category of items."""
    found = raw.reindex(columns=["item_id", "title", "text", "brand", "category"]).astype(object)
    if "director" in raw:
        found["brand"] = raw["director"]
    return found.fillna("")


if __name__ == "__main__":
    sys.exit(main())
