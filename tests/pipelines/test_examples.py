from datetime import date

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from llmrec.errors import InputTableError
from llmrec.nn.ratings import RatingScale
from llmrec.pipelines.examples import choose_examples, rating_scale
from llmrec.pipelines.night import Night, user_rows
from llmrec.settings.config import Config
from llmrec.settings.texts import Texts
from llmrec.settings.training import Train

UNTIL = date(2026, 1, 10)


def moments(frame: DataFrame) -> DataFrame:
    return frame.withColumn("event_time", F.to_timestamp(F.format_string("2026-01-%02d", "day")))


def chosen(spark: SparkSession, learn_from: str, impressions: DataFrame | None = None) -> list[tuple]:
    parts = moments(spark.createDataFrame(
        [("a", 1, 1, True, 5.0, "train"), ("a", 2, 2, False, 1.0, "train"), ("a", 3, 3, True, 4.0, "train"),
         ("a", 4, 6, True, 4.0, "validation"), ("b", 1, 1, True, 2.0, "train")],
        "user_id string, item int, day int, likes boolean, value double, part string",
    ))  # fmt: skip
    users = spark.createDataFrame(
        [("a", "", [1, 3], [1, 2, 3], []), ("b", "", [1], [1], [])],
        "user_id string, text string, liked array<int>, seen array<int>, "
        "moments array<struct<item:int,at:bigint,scene:string,words:string>>",
    )
    items = spark.createDataFrame([(f"i{n}", n) for n in range(9)], "item_id string, item int")
    config = Config(train=Train(learn_from=learn_from, positives=2))
    examples = choose_examples(parts, users, impressions, Night(items, *[users] * 4, UNTIL), UNTIL, config)
    return sorted((row.user_id, row.history, row.positives, row.others, row.ratings) for row in examples.collect())


def test_examples_come_from_what_the_configuration_names(spark: SparkSession) -> None:
    assert chosen(spark, "likes") == [("a", [1], [3], [], [])]
    assert chosen(spark, "events") == [("a", [1], [3], [2], [4.0, 1.0])]


def test_the_text_of_an_example_names_the_scene_of_what_was_taken_next(spark: SparkSession) -> None:
    parts = moments(spark.createDataFrame(
        [("a", 1, 1, True, "home"), ("a", 2, 2, True, "cart"), ("a", 3, 3, True, None), ("a", 4, 4, True, "shop")],
        "user_id string, item int, day int, likes boolean, scene string",
    )).withColumns({"part": F.lit("train"), "value": F.lit(None).cast("double"), "text": F.lit("fine")})  # fmt: skip
    names = spark.createDataFrame(
        [("a", "likes tea", None, {"age": "30"})],
        "user_id string, text string, segment string, attributes map<string,string>",
    )
    template = ["{attributes[age]}", "at {scene}", "{profile}"]
    texts, nothing = Texts(user_template=template), parts.limit(0)
    night = Night(nothing, parts, names, nothing.withColumn("source_score", F.lit(0.0)), nothing, UNTIL)
    for learn_from in ("likes", "events"):
        config = Config(train=Train(learn_from=learn_from, positives=1), texts=texts)
        users = user_rows(night, parts, config, liked=9, until=UNTIL)
        assert [row["text"] for row in users.collect()] == ["30. at default. likes tea"]
        found = choose_examples(parts, users, None, night, UNTIL, config).collect()
        assert sorted((row["positives"], row["text"]) for row in found) == [
            ([2], "30. at cart. likes tea"), ([3], "30. likes tea"), ([4], "30. at shop. likes tea")
        ]  # fmt: skip


def test_what_was_shown_after_a_users_held_out_events_began_is_not_learned_from(spark: SparkSession) -> None:
    impressions = moments(spark.createDataFrame(
        [("r1", "a", "i7", True, 5), ("r1", "a", "i8", False, 5), ("r2", "a", "i7", True, 6),
         ("r3", "b", "i7", True, 9), ("r3", "b", "gone", False, 9), ("r4", "b", "i8", True, 10)],
        "request_id string, user_id string, item_id string, clicked boolean, day int",
    )).withColumn("position", F.lit(None).cast("int"))  # fmt: skip
    # r2: a's held-out events have begun; r4: so has the validation period; one item is not there any more.
    assert chosen(spark, "impressions", impressions) == [("a", [1, 3], [7], [8], []), ("b", [1], [7], [], [])]


def test_impressions_that_are_not_there_are_an_error(spark: SparkSession) -> None:
    with pytest.raises(ValueError, match="expected the table of them"):
        chosen(spark, "impressions")


def test_the_scale_is_that_of_the_ratings_there_are(spark: SparkSession) -> None:
    schema = "ratings array<float>"
    found = rating_scale(spark.createDataFrame([([1.0, float("nan")],), ([],), ([5.0, 3.0],)], schema))
    assert found == RatingScale(3.0, pytest.approx((8 / 3) ** 0.5), 1.0, 5.0)
    for nothing in ([([2.0, 2.0],)], [([],)], [([float("nan")],)]):
        with pytest.raises(InputTableError, match="expected different ones to learn"):
            rating_scale(spark.createDataFrame(nothing, schema))
