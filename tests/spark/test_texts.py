from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from llmrec.settings.texts import Texts
from llmrec.spark.schemas import SCHEMAS
from llmrec.spark.texts import item_text, user_text
from tests import tiny

PROFILES = "user_id string, text string, segment string, attributes map<string,string>"


def test_the_default_text_of_an_item_is_title_categories_and_text(spark: SparkSession) -> None:
    titles, texts = ("Red tea", " Cup "), ("old pot", "a . b", None)
    categories = (["book", "film"], ["cat"], [None, "dog"], [], None)
    rows = [("i", t, x, c, {"brand": "Acme"}, None, None, None) for t in titles for x in texts for c in categories]
    before = F.concat_ws(". ", "title", F.nullif(F.concat_ws(", ", "category"), F.lit("")), "text")
    items = spark.createDataFrame(rows, SCHEMAS["items"])
    found = items.select(item_text(Texts().item_template).alias("now"), before.alias("before")).collect()
    assert [row["now"] for row in found] == [row["before"] for row in found]
    tokens = tiny.tokens()
    now, then = (tokens.item_pieces([row[name] for row in found]) for name in ("now", "before"))
    assert [one.tolist() for one in now] == [one.tolist() for one in then]


def test_the_default_text_of_a_user_is_the_profile(spark: SparkSession) -> None:
    users = spark.createDataFrame([("a", "likes  tea.", "old", {"age": "3"}), ("b", None, None, None)], PROFILES)
    found = users.select(user_text(Texts().user_template, F.lit("home")).alias("text")).collect()
    assert [row["text"] for row in found] == ["likes  tea.", ""]


@pytest.mark.parametrize(("template", "row", "text"), [
    (["{title} by {attributes[brand]}", "{text}"], {"attributes": {"brand": "A"}, "text": "new"}, "Pot by A. new"),
    (["{title}", "by {attributes[brand]}", "{text}"], {"attributes": {"maker": "x"}, "text": "new"}, "Pot. new"),
    (["{title}", "by {attributes[brand]}"], {"attributes": {"brand": None}}, "Pot"),
    (["{title}", "by {attributes[brand]}"], {"attributes": {"brand": "  "}}, "Pot"),
    (["{title}", "из {attributes[где]}"], {"attributes": {"где": "茶"}}, "Pot. из 茶"),
    (["{title} ({category})"], {"category": ["a", "b"]}, "Pot (a, b)"),
    (["{title}", "{category}", "{text}"], {"title": "", "text": "new"}, "new"),
    (["{{{title}}}", "passage"], {}, "{Pot}. passage"),
    (["{text}"], {}, ""),
])  # fmt: skip
def test_a_part_without_its_value_leaves_nothing_behind(
    spark: SparkSession, template: list[str], row: dict[str, Any], text: str
) -> None:
    whole = {"item_id": "i", "title": "Pot", **row}
    items = spark.createDataFrame([tuple(whole.get(name) for name in SCHEMAS["items"].names)], SCHEMAS["items"])
    assert items.select(item_text(template)).head()[0] == text


def test_a_users_attributes_segment_and_scene_stand_where_the_template_says(spark: SparkSession) -> None:
    users = spark.createDataFrame([("a", "likes tea", "new", {"age": "30"}), ("b", None, None, None)], PROFILES)
    template = ["aged {attributes[age]}", "{segment}", "at {scene}", "{profile}"]
    found = [row[0] for row in users.select(user_text(template, F.lit("home"))).collect()]
    assert found == ["aged 30. new. at home. likes tea", "at home"]
    assert users.select(user_text([], F.lit("home"))).head()[0] == ""
