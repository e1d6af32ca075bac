from collections.abc import Sequence

import pytest
from pyspark.sql import DataFrame, SparkSession

from llmrec.config import Config, Texts, Train
from llmrec.domain.users import User
from llmrec.errors import ConfigError
from llmrec.pipelines import training
from llmrec.pipelines.training import require_fitting, train_fusion, train_scorer
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


class Enough(Exception):
    """Raised once it is known who takes part."""


def test_who_decides_early_stopping_never_teaches_the_ranker_and_all_others_do(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide: set[str] = set()
    teach: set[str] = set()

    def judge(scorer: object, tokens: object, catalogue: object, users: Sequence[User], targets: object) -> None:
        decide.update(user.user_id for user in users)
        raise Enough

    def pair_features(users: DataFrame, parts: object) -> None:
        teach.update(row.user_id for row in users.collect())
        raise Enough

    monkeypatch.setattr(training, "_judge", judge)
    monkeypatch.setattr(training, "pair_features", pair_features)
    names = {f"u{number}" for number in range(200)}
    users = spark.createDataFrame(
        [(name, [0, 1], [0, 1], [0, 1], [0, 1], "", [], [2]) for name in names],
        "user_id string, liked array<int>, recent array<int>, seen array<int>, excluded array<int>, text string, "
        "supplied array<struct<item:int,score:float>>, targets array<int>",
    )
    few = Config(train=Train(max_validation_users=10))
    with pytest.raises(Enough):
        train_scorer(None, None, None, users, users, few, print)  # type: ignore[arg-type]
    with pytest.raises(Enough):
        train_fusion(users, None, few)  # type: ignore[arg-type]
    assert len(decide) == 10
    assert teach == names - decide
