from datetime import date, datetime
from typing import Any

import pytest

from llmrec.pipelines.score import scoring_key
from llmrec.settings.config import Config
from llmrec.settings.lists import Gates, Score
from llmrec.spark.tables import Commit

DAY = date(2026, 2, 1)
READ = {"events": Commit(5, datetime(2026, 2, 1, 3)), "users": Commit(0, datetime(2026, 1, 1))}
NIGHT: dict[str, Any] = {
    "run_date": DAY, "model_version": "m", "tables": READ, "counted": {"items": 3}, "config": Config(),
}  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        {"run_date": date(2026, 2, 2)},
        {"model_version": "n"},
        {"tables": {**READ, "events": Commit(6, READ["events"].time)}},
        {"tables": {**READ, "users": Commit(0, datetime(2026, 2, 1))}},  # made anew, with the same number
        {"counted": {"items": 4}},
        {"config": Config(score=Score(top_n=3))},
    ],
)
def test_lists_of_a_night_are_gone_on_with_only_where_nothing_they_depend_on_is_another(other: dict[str, Any]) -> None:
    assert scoring_key(**NIGHT) == scoring_key(**NIGHT | {"config": Config(gates=Gates(nights=0))})
    assert scoring_key(**NIGHT) != scoring_key(**NIGHT | other)
