from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from llmrec.domain.features import COLUMN
from llmrec.domain.noise import Noise
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.examples import Shards
from llmrec.nn.recommender import Recommender
from llmrec.nn.rewriter import Rewriter, Rewriting
from llmrec.nn.training import fine_tune
from llmrec.spark import copies
from llmrec.spark.copies import add_copies, copy_texts, mixed_histories
from llmrec.spark.examples import write_examples
from llmrec.spark.shipping import Shipped
from tests import tiny
from tests.nn.planted_shop import plan

EXAMPLE = "user_id string, part string, text string, history array<int>, positives array<int>, seen array<int>"
REST = "words array<string>, others array<int>, ratings array<float>, positions array<int>"


def shipped(folder: Path, seed: int = 1) -> Shipped:
    noise = Noise(delete=0.2, swap=0.2, mask=0.2, cut=0.2)
    plan = Rewriting(seed=seed, copies=2, synonyms={"red": ["crimson"]}, synonym_share=0.5, noise=noise)
    Rewriter(plan, tiny.tokens(), tiny.tokenizer().mask_token_id).save(folder)
    return Shipped(str(folder), "")


def test_the_same_copies_come_of_the_same_texts_whatever_tasks_they_are_in(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "_TEXTS_PER_TASK", 15)
    texts = [(f"i{n}", f"red tea and old cup {tiny.WORDS[n % 14]}") for n in range(40)]
    found = []
    for tasks, order, seed in ((1, 1, 1), (5, -1, 1), (1, 1, 2)):
        frame = spark.createDataFrame(texts[::order], "item_id string, text string").repartition(tasks)
        rewriter = shipped(tmp_path / f"{tasks}-{seed}", seed)
        found.append({row.item_id: row.copies for row in copy_texts(frame, "item_id", rewriter, 10).collect()})
    assert found[0] == found[1] != found[2]
    here = Rewriter.load(tmp_path / "1-1").copies(*zip(*texts, strict=True), at_most=10)
    assert found[0] == {key: [one.tolist() for one in row] for (key, _), row in zip(texts, here, strict=True)}


def examples(spark: SparkSession, tasks: int = 2) -> DataFrame:
    """Users a, b and c went on to item 50, d to an item of d's own, and e twice to another."""
    rows = [
        ("a", "1", "of a", [1, 2, 3, 4], [50, 10], [1, 2, 3, 4, 10, 50]),
        ("b", "1", "", [11, 12, 10, 13], [50], [10, 11, 12, 13, 50]),
        ("c", "1", "", [21, 22], [50], [21, 22, 50]),
        ("d", "1", "", [31, 32, 33], [51], [31, 32, 33, 51]),
        ("e", "1", "", [41], [52], [41, 52]),
        ("e", "2", "", [42], [52], [42, 52]),
    ]
    return spark.createDataFrame(rows, EXAMPLE).repartition(tasks)


def mixed(frame: DataFrame, share: float, count: int = 2, seed: int = 1) -> dict[tuple[str, str], list[list[int]]]:
    rows = mixed_histories(frame, share=share, copies=count, seed=seed).collect()
    return {(row.user_id, row.part): row._histories for row in rows}


def test_histories_take_in_items_of_those_who_went_on_to_the_same_item(spark: SparkSession) -> None:
    found = mixed(examples(spark), share=0.999999)
    # 10 is what a is to be told apart by: it stays out of a's history. b's other items are the latest, in their order.
    assert sorted(found["a", "1"]) == sorted([[11, 12, 13, 4], [21, 22, 3, 4]])
    assert sorted(found["b", "1"]) == sorted([[1, 2, 3, 4], [21, 22, 10, 13]])
    assert sorted(found["c", "1"]) == sorted([[3, 4], [10, 13]])
    assert found["d", "1"] == [[31, 32, 33]] * 2  # nobody else went on to 51
    assert found["e", "1"] == [[41]] * 2  # an other example of e's own is no other user
    assert mixed(examples(spark), share=0.0) == {
        (row.user_id, row.part): [row.history] * 2 for row in examples(spark).collect()
    }


def test_so_many_items_are_mixed_in_as_set_and_the_same_ones_whatever_the_tasks(spark: SparkSession) -> None:
    rng = np.random.default_rng(0)
    histories = [rng.permutation(1000)[:10].tolist() for _ in range(60)]
    rows = [(f"u{n}", "1", "", history, [2000 + n % 3], []) for n, history in enumerate(histories)]
    first, second, third = (
        mixed(spark.createDataFrame(rows, EXAMPLE).repartition(tasks), share=0.3, count=4, seed=seed)
        for tasks, seed in ((1, 1), (4, 1), (1, 2))
    )
    assert first == second != third
    changed = [
        len(set(one) - set(history)) / 10
        for n, history in enumerate(histories) for one in first[f"u{n}", "1"]
    ]  # fmt: skip
    assert abs(np.mean(changed) - 0.3) < 0.05
    assert all(len(one) == 10 == len(set(one)) for row in first.values() for one in row)


def test_copies_of_an_example_hold_profile_and_history(spark: SparkSession) -> None:
    profiles = spark.createDataFrame(
        [("a", "of a", [[7], [8, 9]]), ("d", "of d at home", [[1], [2]])],
        "user_id string, text string, copies array<array<int>>",
    )
    found = add_copies(examples(spark), profiles, mix=0.0, copies=2, seed=1)
    assert set(found.columns) == {*examples(spark).columns, "copies"}
    rows = {(row.user_id, row.part): [(one.profile, one.history) for one in row.copies] for row in found.collect()}
    assert rows["a", "1"] == [([7], [1, 2, 3, 4]), ([8, 9], [1, 2, 3, 4])]
    assert rows["d", "1"] == [(None, [31, 32, 33])] * 2  # its text is another
    both = add_copies(examples(spark), profiles, mix=0.999999, copies=2, seed=1).collect()
    rows = {(row.user_id, row.part): [(one.profile, one.history) for one in row.copies] for row in both}
    assert [profile for profile, _ in rows["a", "1"]] == [[7], [8, 9]]
    assert [history for _, history in rows["a", "1"]] == mixed(examples(spark), share=0.999999)["a", "1"]


def crowd(folder: Path) -> Catalogue:
    """Cats 0-7 and dogs 8-15 are what users have; 16 is what both go on to, 17 what those of cats do, 18 of dogs."""
    texts = [f"{animal} {thing}" for animal in ("cat", "dog") for thing in tiny.WORDS[3:11]]
    return tiny.catalogue(
        folder, [*texts, "red warm", "blue cold", "green fresh", *(f"old {w}" for w in tiny.WORDS[3:9])]
    )


def taste_of_the_others(spark: SparkSession, folder: Path, change: Callable[[DataFrame], DataFrame] | None) -> float:
    """How much better the model holds 17 to be for users of dogs than the items that nobody takes, in logits."""
    rng, rows = np.random.default_rng(0), []
    for user in range(60):
        cats = user % 2 == 0
        history = (rng.permutation(8)[:4] + (0 if cats else 8)).tolist()
        after = [16, 17 if cats else 18]
        rows.append((f"u{user}", "1", "", history, after, [*history, *after], [], [], [], []))
    frame = spark.createDataFrame(rows, f"{EXAMPLE}, {REST}")
    write_examples(frame, folder / "examples", at_most=100, seed=1, change=change)
    shop, scorer, figures = crowd(folder / "shop"), tiny.scorer(layers=2), iter(range(99))
    fine_tune(scorer, tiny.tokens(), shop, folder / "examples", plan(max_epochs=8), lambda _: next(figures),
              lambda _: None, folder / "checkpoints")  # fmt: skip
    recommender = Recommender(
        catalogue=shop, scorer=scorer, tokens=tiny.tokens(), sizes=tiny.sizes(popularity=30), fusion=None
    )
    gains = []
    for scored in recommender.score([tiny.user(f"{n}", (rng.permutation(8)[:4] + 8).tolist()) for n in range(10)]):
        logits = dict(zip(scored.proposals.items.tolist(), scored.features[:, COLUMN["pair_logit"]], strict=True))
        gains.append(logits[17] - np.mean([logits[item] for item in range(19, 25)]))
    return float(np.mean(gains))


def test_mixing_carries_over_what_users_of_a_common_item_like(spark: SparkSession, tmp_path: Path) -> None:
    def mixing(frame: DataFrame) -> DataFrame:
        return add_copies(frame, None, mix=0.7, copies=3, seed=1)

    def without_common_items(frame: DataFrame) -> DataFrame:
        apart = add_copies(frame.withColumn("positives", F.array(F.hash("user_id"))), None, mix=0.7, copies=3, seed=1)
        return apart.drop("positives").join(frame.select("user_id", "positives"), on="user_id", how="inner")

    mixed, plain, broken = (
        taste_of_the_others(spark, tmp_path / name, change)
        for name, change in (("mixed", mixing), ("plain", None), ("broken", without_common_items))
    )
    assert mixed > max(plain, broken) + 4


def test_words_that_users_wrote_are_read_beside_their_own_items_alone(spark: SparkSession, tmp_path: Path) -> None:
    rng, rows, wrote = np.random.default_rng(0), [], {}
    for user in range(40):
        history = rng.permutation(100)[:6].tolist()
        words = [f"of {user} on {item}" for item in history] if user % 4 else []
        wrote.update(((f"text of {user}", item), text) for item, text in zip(history, words, strict=bool(words)))
        rows.append((f"u{user}", "1", f"text of {user}", history, [100 + user % 2], [], words, [], [], []))
    frame = spark.createDataFrame(rows, f"{EXAMPLE}, {REST}")
    folder, mixed_in = tmp_path / "examples", 0
    write_examples(
        frame, folder, at_most=100, seed=1, change=lambda kept: add_copies(kept, None, mix=0.5, copies=3, seed=1)
    )
    read = list(Shards(folder, lambda _: lambda one, rng: np.zeros(0, np.int32), seed=1))
    for example in read:
        said = [wrote.get((example.text, item), "") for item in example.history.tolist()]
        assert list(example.words) == (said if int(example.text.split()[-1]) % 4 else [])
        mixed_in += list(example.words).count("")
    assert len(read) == 40
    assert mixed_in > 20
