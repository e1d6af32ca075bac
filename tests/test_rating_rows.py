from pathlib import Path

import numpy as np
import pandas as pd

from bench.rating_rows import Market
from llmrec.nn.biases import Rated


def write(folder: Path) -> pd.DataFrame:
    """Every one of 30 users rates 40 of 50 items, but for one rating in twenty that is not said."""
    rng = np.random.default_rng(0)
    user, item = np.nonzero(rng.random((30, 50)) < 0.8)
    rating = np.where(rng.random(len(user)) < 0.05, np.nan, rng.integers(1, 11, len(user)))
    rows = pd.DataFrame({"user_id": [f"u{n}" for n in user], "item_id": [f"i{n}" for n in item], "rating": rating})
    rows.to_parquet(folder / "interactions.parquet")
    names = [f"i{n}" for n in range(50)]
    texts = {"title": [f"title {n}" for n in names], "text": None, "category": "Drama, School", "type": ["TV", ""] * 25}
    pd.DataFrame({"item_id": names, **texts}).to_parquet(folder / "items.parquet")
    return rows.dropna()


def pairs(rated: Rated) -> set[tuple[int, int]]:
    return set(zip(rated.user.tolist(), rated.item.tolist(), strict=True))


def test_every_rating_is_in_one_part_and_new_items_are_in_test_alone(tmp_path: Path) -> None:
    rows = write(tmp_path)
    market = Market.read(tmp_path, seed=1)
    parts = [market.learned, market.valid, market.test]
    assert sum(len(one.rating) for one in parts) == len(rows) == len(set().union(*(pairs(one) for one in parts)))
    alone = [set(of.item.tolist()) - set().union(*(set(o.item.tolist()) for o in parts if o is not of)) for of in parts]
    assert [len(one) for one in alone] == [0, 5, 5]
    assert set(np.flatnonzero(market.is_new).tolist()) == alone[1] | alone[2]
    known = [np.mean(~market.is_new[of.item]) * len(of.item) for of in parts]
    assert np.allclose(np.array(known) / sum(known), [0.8, 0.1, 0.1], atol=0.04)
    assert pairs(Market.read(tmp_path, seed=1).test) == pairs(market.test) != pairs(Market.read(tmp_path, seed=2).test)


def test_texts_hold_title_type_and_categories_and_groups_say_who_shares_them(tmp_path: Path) -> None:
    write(tmp_path)
    market = Market.read(tmp_path, seed=1)
    assert market.items["text"][:2].tolist() == ["title i0. TV. Drama, School", "title i1. Drama, School"]
    assert market.groups[:2].tolist() == [[1, 1, 1], [1, 1, 0]]


def test_what_is_above_the_mean_of_a_user_is_known_from_learned_ratings_alone(tmp_path: Path) -> None:
    write(tmp_path)
    market = Market.read(tmp_path, seed=1)
    assert abs(market.above.mean()) < 0.2 < market.above.std()
    by_user = np.bincount(market.learned.user, market.above) / np.bincount(market.learned.user)
    assert np.abs(by_user).max() < 1
    assert market.clip(np.array([-3.0, 5.0, 30.0])).tolist() == [1, 5, 10]
