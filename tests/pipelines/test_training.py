import pytest

from llmrec.config import Config, Texts, Train
from llmrec.errors import ConfigError
from llmrec.pipelines.training import require_fitting
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
