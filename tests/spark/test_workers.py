from pathlib import Path

import numpy as np
from pyspark.sql import SparkSession

from llmrec import columns as C
from llmrec.domain.exploration import Exploration
from llmrec.domain.features import COLUMN, NAMES
from llmrec.domain.rules import ListRules
from llmrec.domain.users import shown_as_new
from llmrec.nn.artifact import save_encoder
from llmrec.spark.shipping import Shipped
from llmrec.spark.workers import NightParts, pair_features
from tests import tiny

USER = (
    "user_id string, liked array<int>, recent array<int>, seen array<int>, excluded array<int>, text string, "
    "segment string, idle_days float, supplied array<struct<item:int,score:float>>, targets array<int>, "
    "moments array<struct<item:int,at:bigint,scene:string,words:string>>"
)


def night(folder: Path) -> NightParts:
    """Four items, the first often taken with the second, the third and the fourth popular."""
    save_encoder(folder / "model", tiny.scorer(), tiny.tokens())
    tiny.catalogue(
        folder / "catalogue",
        ["red tea", "red cup", "blue pot", "blue book"],
        together={(0, 1): 0.5},
        taken=[2, 1, 9, 8],
    )
    return NightParts(
        model=Shipped(str(folder / "model"), ""), catalogue=Shipped(str(folder / "catalogue"), ""),
        sizes=tiny.sizes(10), rules=ListRules(), exploration=Exploration(), precision=None,
    )  # fmt: skip


def test_some_users_teach_the_ranker_a_second_time_as_if_they_were_new(spark: SparkSession, tmp_path: Path) -> None:
    names = [f"user-{number}" for number in range(40)]
    as_new = {name for name in names if shown_as_new(name)}
    assert 0 < len(as_new) < 20
    users = spark.createDataFrame([(name, [0], [0], [0], [0], "", "", 1.0, [], [1], []) for name in names], USER)
    rows = pair_features(users, night(tmp_path)).toPandas()
    assert sorted(rows[~rows["shown_as_new"]][C.USER]) == sorted(names)
    assert set(rows[rows["shown_as_new"]][C.USER]) == as_new
    for row in rows.itertuples():
        features = np.frombuffer(row.features, np.float32).reshape(-1, len(NAMES))
        assert list(row.liked) == [1, 0, 0]  # of items 1, 2, 3
        known = features[:, COLUMN["covisitation"]]
        assert known.any() != row.shown_as_new
        assert features[:, COLUMN["history_length"]].any() != row.shown_as_new
