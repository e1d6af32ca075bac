"""From tables to what is learned: tastes that only own words, attributes or the scene tell of."""

from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from llmrec.domain.users import User
from llmrec.errors import InputTableError
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.tokens import TextLimits
from llmrec.nn.training import fine_tune
from llmrec.pipelines.examples import choose_examples
from llmrec.pipelines.holdout import asked_for
from llmrec.pipelines.night import Night, open_night, user_rows, with_texts_of
from llmrec.settings.config import Config
from llmrec.spark.examples import write_examples
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.users import to_users
from tests import tiny
from tests.nn.planted_shop import COLOURS, THINGS, open_shop, plan
from tests.nn.test_own_words import SAYS, colour, ndcg

FIRST = datetime(2026, 1, 1, tzinfo=timezone.utc)
RUN_DATE = date(2026, 2, 1)
LEARNERS, JUDGES = 90, 15
TOLD = {
    "words": {"words_tokens": 2},
    "attributes": {"user_template": ["{profile}", "{attributes[taste]}"]},
    "scene": {"user_template": ["{scene}"]},
}
LIMITS = {"history_items": 4, "history_tokens": 4, "max_user_tokens": 32, "max_item_tokens": 12}


def tables(spark: SparkSession, tastes: list[str]) -> dict[str, DataFrame]:
    """Each user takes a thing of any colour, then two of one's own; ``tastes`` is what users say it is.

    They say it when they review the first thing, in an attribute and in the scene of the others. The last users have
    not taken the others yet.
    """
    rng, rows = np.random.default_rng(1), []
    for place in range(LEARNERS + JUDGES):
        own = rng.permutation(sorted(colour(place)))
        first = int(rng.integers(27))
        taken = [first, *[item for item in own.tolist() if item != first][:2]]
        for step, item in enumerate(taken if place < LEARNERS else taken[:1]):
            text, scene = (tastes[place], "any") if step == 0 else ("film", tastes[place])
            moment = FIRST + timedelta(days=step)
            rows.append((f"u{place:03d}", f"i{item:02d}", "taken", moment, None, scene, text))
    titles = [f"{name} {thing}" for name in COLOURS for thing in THINGS]
    items = [(f"i{n:02d}", title, *[None] * 6) for n, title in enumerate(titles)]
    users = [(f"u{place:03d}", None, {"taste": taste}, None) for place, taste in enumerate(tastes)]
    named = {"events": rows, "items": items, "users": users, "candidates": [], "denied": []}
    return {name: spark.createDataFrame(own, SCHEMAS[name]) for name, own in named.items()}


def learned(spark: SparkSession, shop: Catalogue, folder: Path, texts: dict[str, object], tastes: list[str]) -> float:
    """Fine-tune on what the tables say, and return the NDCG@10 for users whose next likes are not there yet."""

    def night(scene: str) -> tuple[Night, Config, DataFrame]:
        config = Config.model_validate({"texts": LIMITS | texts, "train": {"positives": 2}, "score": {"scene": scene}})
        opened = open_night(**tables(spark, tastes), allowed=None, config=config, run_date=RUN_DATE)
        return opened, config, user_rows(opened, opened.events, config, liked=9, until=RUN_DATE)

    opened, config, rows = night(SAYS[0])
    parts = opened.events.withColumn("part", F.lit("train"))
    examples = choose_examples(parts, rows, None, opened, RUN_DATE, config)
    assert write_examples(examples, folder / "examples", at_most=1000, seed=1) == LEARNERS
    judges = list[User]()
    by_scene = [night(said)[2] for said in SAYS] if config.texts.by_scene else [rows] * 3
    found = [
        to_users(one.filter(F.col("user_id") >= f"u{LEARNERS:03d}").orderBy("user_id").toPandas()) for one in by_scene
    ]
    judges = [found[place % 3][place] for place in range(JUDGES)]
    tokens = tiny.tokens(TextLimits(**LIMITS, words_tokens=config.texts.words_tokens))
    return fine_tune(
        tiny.scorer(layers=2), tokens, shop, folder / "examples", plan(max_epochs=6, learning_rate=3e-3),
        lambda one: ndcg(one, shop, tokens, judges), lambda _: None, folder / "checkpoints",
    ).ndcg  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("told", TOLD)
def test_a_taste_that_nothing_else_tells_of_is_learned_from_the_tables(
    spark: SparkSession, tmp_path: Path, told: str
) -> None:
    shop, rng = open_shop(tmp_path / "shop"), np.random.default_rng(4)
    own = [SAYS[place % 3] for place in range(LEARNERS + JUDGES)]
    of_others = [*rng.permutation(own[:LEARNERS]).tolist(), *own[LEARNERS:]]
    read = learned(spark, shop, tmp_path / "read", TOLD[told], own)
    unread = learned(spark, shop, tmp_path / "unread", {}, own)
    mixed_up = learned(spark, shop, tmp_path / "mixed", TOLD[told], of_others)
    assert read > 0.8 > 0.6 > max(unread, mixed_up)


def config(*template: str, scene: str = "home") -> Config:
    return Config.model_validate({"texts": {"user_template": list(template)}, "score": {"scene": scene}})


def test_a_scene_that_no_event_has_is_refused_where_texts_name_it(spark: SparkSession) -> None:
    own = tables(spark, [SAYS[0]] * (LEARNERS + JUDGES))
    with pytest.raises(InputTableError, match=r"has the scene 'home' \(score.scene\), expected some"):
        open_night(**own, allowed=None, config=config("{scene}"), run_date=RUN_DATE)
    for fine in (config("{scene}", scene="any"), config("{profile}")):
        assert open_night(**own, allowed=None, config=fine, run_date=RUN_DATE).run_date == RUN_DATE


def test_where_texts_name_the_scene_only_its_likes_are_asked_for(spark: SparkSession) -> None:
    held_out = spark.createDataFrame([(1, "home"), (2, "cart"), (3, None)], "item int, scene string")
    assert [row["item"] for row in asked_for(held_out, config("{scene}")).collect()] == [1]
    assert asked_for(held_out, config("{profile}")).count() == 3


def test_a_model_reads_texts_as_it_was_trained_to_and_what_differs_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trained, now = config("at {scene}", scene="cart"), config("{profile}")
    manifest = {"config": trained.model_dump(mode="json", include={"train", "texts", "candidates"})}
    assert with_texts_of(manifest, now) == now.model_copy(update={"texts": trained.texts})
    said = capsys.readouterr().out
    assert "texts.user_template: the model was trained with ['at {scene}']" in said
    assert said.count("\n") == 1
    before = {"config": {"texts": {"history_items": 3}}}  # as written before there were templates
    assert with_texts_of(before, now).texts == now.texts.model_copy(update={"history_items": 3})
