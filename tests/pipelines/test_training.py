from datetime import date
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from llmrec import columns as C
from llmrec.domain.features import NAMES
from llmrec.errors import ConfigError
from llmrec.nn.artifact import ModelInfo
from llmrec.nn.fusion import Fusion
from llmrec.nn.panel import Panel
from llmrec.nn.sources import SOURCES
from llmrec.pipelines import rankers
from llmrec.pipelines.judges import stopping_panel, stopping_users
from llmrec.pipelines.night import Night
from llmrec.pipelines.rankers import train_ranker, worth_its_parts
from llmrec.pipelines.training import require_fitting, train_scorer, training_key
from llmrec.settings.config import Config
from llmrec.settings.texts import Texts
from llmrec.settings.training import Train
from llmrec.spark.examples import of_likes
from tests import tiny


def config(scorer: str, user: int, item: int) -> Config:
    return Config(train=Train(scorer=scorer, cached_layers=1), texts=Texts(max_user_tokens=user, max_item_tokens=item))


def test_texts_must_fit_the_encoders_64_positions() -> None:
    require_fitting(tiny.backbone(), config("prefix", 64, 64))
    with pytest.raises(ConfigError, match=r"texts\.max_user_tokens is 65, expected at most 64"):
        require_fitting(tiny.backbone(), config("prefix", 65, 64))


def test_for_the_joint_scorer_both_sides_must_fit_together() -> None:
    require_fitting(tiny.backbone(), config("joint", 33, 32))
    with pytest.raises(ConfigError, match="make pairs of 65, expected at most 64 for the joint scorer"):
        require_fitting(tiny.backbone(), config("joint", 34, 32))


@pytest.mark.parametrize(
    ("gains", "kept"),
    [({"whole": 0.3, "without-pair-scorer": 0.2, "without-bert": 0.1}, "whole"),
     ({"whole": 0.3, "without-pair-scorer": 0.3, "without-bert": 0.1}, "without-pair-scorer"),
     ({"whole": 0.301, "without-pair-scorer": 0.1, "without-bert": 0.3}, "without-bert"),
     ({"whole": 0.1, "without-pair-scorer": 0.3, "without-bert": 0.29}, "without-pair-scorer"),
     ({"whole": 0.3, "without-pair-scorer": 0.3, "without-bert": 0.4}, "without-bert"),
     ({"whole": 0.3, "without-bert": 0.1}, "whole"),
     ({"whole": 0.3, "without-pair-scorer": 0.2, "without-bert": 0.301}, "without-bert"),
     ({"whole": 0.1, "without-collaborative": 0.4}, "whole")],
)  # fmt: skip
def test_of_rankers_without_the_pair_scorer_the_better_is_kept_unless_the_whole_is_clearly_better(
    gains: dict[str, float], kept: str
) -> None:
    noise = np.random.default_rng(0)
    rankers = {
        name: Fusion(None, 1, 0, gain + noise.normal(0, 0.1, 900))  # type: ignore[arg-type]
        for name, gain in gains.items()
    }
    others = {name: one for name, one in rankers.items() if name != "whole"}
    assert worth_its_parts(rankers["whole"], others) is rankers[kept]


class Enough(Exception):
    """Raised once it is known who takes part."""


def test_who_decides_early_stopping_never_teaches_the_ranker_and_all_others_do(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    decide: set[str] = set()
    teach: set[str] = set()

    def judge(panel: Panel, tokens: object, catalogue: object) -> None:
        decide.update(user.user_id for user in panel.users)
        raise Enough

    def pair_features(users: DataFrame, parts: object) -> None:
        teach.update(row.user_id for row in users.collect())
        raise Enough

    monkeypatch.setattr(Panel, "judge", judge)
    monkeypatch.setattr(rankers, "pair_features", pair_features)
    names = {f"u{number}" for number in range(200)}
    users = spark.createDataFrame(
        [(name, [0, 1], [0, 1], [0, 1], [0, 1], "", "", 1.0, [], [2], []) for name in names],
        "user_id string, liked array<int>, recent array<int>, seen array<int>, excluded array<int>, text string, "
        "segment string, idle_days float, supplied array<struct<item:int,score:float>>, targets array<int>, "
        "moments array<struct<item:int,at:bigint,scene:string,words:string>>",
    )
    few = Config(train=Train(max_validation_users=10))
    examples, panel = of_likes(users, positives=1, history=5), stopping_panel(stopping_users(users, few))
    with pytest.raises(Enough):
        train_scorer(tiny.scorer(), None, None, examples, panel, few, print, tmp_path, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(Enough):
        train_ranker(users, None, few)  # type: ignore[arg-type]
    assert len(decide) == 10
    assert teach == names - decide


def test_a_training_is_taken_up_only_by_one_with_the_same_teacher(spark: SparkSession) -> None:
    examples = spark.createDataFrame([("red", [1])], "text string, positives array<int>")
    parts = spark.createDataFrame(
        [("u", 1, None, True, "train")], "user_id string, item int, event_time timestamp, likes boolean, part string"
    )
    items = spark.createDataFrame(
        [(1, "i", "sha", True)], "item int, item_id string, text_sha string, available boolean"
    )
    night = Night(items, parts, parts, parts, parts, date(2026, 1, 31))
    teachers = [None, *(ModelInfo(Path("teacher"), "", version, {}) for version in ("one", "other"))]
    keys = [
        training_key("encoder", teacher, examples, parts, night, None, Config()) for teacher in (*teachers, teachers[1])
    ]
    assert len(set(keys[:3])) == 3
    assert keys[3] == keys[1]


def test_the_ranker_does_not_depend_on_the_order_in_which_rows_arrive(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0)
    rows = [
        (f"u{place}", False, noise.normal(size=(6, len(NAMES))).astype(np.float32), np.ones((6, len(SOURCES)), bool),
         np.arange(6) == 0)
        for place in range(60)
    ]  # fmt: skip
    as_bytes = [(user, as_new, *(part.tobytes() for part in parts)) for user, as_new, *parts in rows]
    columns = f"{C.USER} string, shown_as_new boolean, features binary, {C.SOURCES} binary, liked binary"
    users = spark.createDataFrame([(row[0],) for row in rows], f"{C.USER} string")
    found = []
    for arrived in (as_bytes, as_bytes[::-1]):
        table = spark.createDataFrame(arrived, columns)
        monkeypatch.setattr(rankers, "pair_features", lambda users, parts, table=table: table)
        found.append(train_ranker(users, None, Config()))  # type: ignore[arg-type]
    features = np.concatenate([row[2] for row in rows])
    one, other = (rankers.ranker.probabilities(features) for rankers in found)
    assert np.array_equal(one, other)
    assert found[0].fitted == found[1].fitted
    assert found[0].fitted["pairs"] == 360
    assert found[0].fitted["liked_share"] == pytest.approx(1 / 6)
