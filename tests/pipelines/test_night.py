import pytest
from pyspark.sql import SparkSession

from llmrec.pipelines.night import solve_ease
from llmrec.settings.config import Config
from llmrec.settings.lists import Candidates


def config(**sizes: int) -> Config:
    return Config(candidates=Candidates(**sizes))


@pytest.mark.parametrize(("settings", "said"), [
    ({"ease": 5, "ease_items": 2}, "candidates.ease: is off, the catalogue has 3 items and ease_items allows 2\n"),
    ({"ease": 0}, ""),
])  # fmt: skip
def test_a_catalogue_too_large_for_ease_goes_without_and_says_so(
    spark: SparkSession, capsys: pytest.CaptureFixture[str], settings: dict[str, int], said: str
) -> None:
    users = spark.createDataFrame([([0, 1],), ([0, 1, 2],)], "counted array<int>")
    assert solve_ease(users, 3, config(**settings)).num_rows == 0
    assert capsys.readouterr().out == said
    assert solve_ease(users, 3, config(ease=5, ease_items=3)).num_rows == 6
