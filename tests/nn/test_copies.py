"""What training with copies of texts is worth, and how they are read."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.domain.noise import Noise
from llmrec.nn.batches import Batch, Collator
from llmrec.nn.copies import Copies, find_copies, write_copies
from llmrec.nn.examples import Shards
from llmrec.nn.inference import for_inference
from llmrec.nn.plan import Tuning
from llmrec.nn.rewriter import Rewriter, Rewriting
from llmrec.nn.scorers import make_scorer
from llmrec.nn.teacher import Teacher
from llmrec.nn.translation import Translation
from tests import tiny
from tests.nn.planted_shop import COLOURS, THINGS, cuts, likers, open_shop, plan, quality, tune
from tests.nn.translators import translator

OTHERS = ("crimson", "azure", "jade")
"""Another word for each colour."""
SEEDS = (1, 2, 3, 4, 5, 6)
"""Of trainings that are compared: what one of them learns of words it need not know is a matter of rounding."""
Say = Callable[[str, str, str], str]


def both(colour: str, other: str, thing: str) -> str:
    return f"{colour} {other} {thing}"


def plain(colour: str, other: str, thing: str) -> str:
    return f"{colour} {thing}"


def otherwise(colour: str, other: str, thing: str) -> str:
    return f"{other} {thing}"


def texts(say: Say) -> list[str]:
    return [say(colour, other, thing) for colour, other in zip(COLOURS, OTHERS, strict=True) for thing in THINGS]


def rewriter(translation: Translation | None = None, **changes: object) -> Rewriter:
    plan = Rewriting(seed=1, copies=3, **changes)  # type: ignore[arg-type]
    return Rewriter(plan, tiny.tokens(), tiny.tokenizer().mask_token_id, translation=translation)


def write(folder: Path, by: Rewriter, say: Say) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    made = by.copies([str(place) for place in range(27)], texts(say), at_most=10)
    write_copies(folder, pa.chunked_array([pa.array([[one.tolist() for one in row] for row in made])]))


def robustness(folder: Path, read: Say, by: Rewriter | None = None, seeds: Sequence[int] = SEEDS) -> float:
    """NDCG@10 on texts that say ``otherwise`` what was learned as ``read`` says it; mean of a training by each seed."""
    shop, other = open_shop(folder / "read", texts(read)), open_shop(folder / "other", texts(otherwise))
    found = []
    for seed in seeds:
        scorer, figures, place = tiny.scorer(layers=2), iter(range(99)), folder / f"{seed}"
        if by is not None:
            write(place / "examples", by, read)
        tune(scorer, shop, cuts(likers(60, seed=1)), plan(seed=seed), place, lambda _, to=figures: next(to))
        found.append(quality(scorer, other))
    return float(np.mean(found))


@pytest.fixture(scope="module")
def learned_from_both(tmp_path_factory: pytest.TempPathFactory) -> float:
    return robustness(tmp_path_factory.mktemp("both"), both)


@pytest.mark.parametrize(
    "kind",
    ["delete", "mask", pytest.param("swap", marks=pytest.mark.slow), pytest.param("cut", marks=pytest.mark.slow)],
)
def test_with_noise_a_model_does_not_lean_on_one_word_of_two(
    tmp_path: Path, learned_from_both: float, kind: str
) -> None:
    noisy = robustness(tmp_path, both, rewriter(noise=Noise(**{kind: 0.3})))
    assert noisy > learned_from_both + 0.08


def test_synonyms_teach_words_that_no_text_has(tmp_path: Path) -> None:
    known = {colour: [other] for colour, other in zip(COLOURS, OTHERS, strict=True)}
    wrong = dict.fromkeys(COLOURS, OTHERS)
    without = robustness(tmp_path / "without", plain, seeds=SEEDS[:3])
    changed, mixed_up = (
        robustness(tmp_path / name, plain, rewriter(synonyms=of, synonym_share=0.5), SEEDS[:3])
        for name, of in (("changed", known), ("wrong", wrong))
    )
    assert changed > 0.95 > 0.85 > max(without, mixed_up)


def test_back_translation_teaches_the_words_that_come_back(tmp_path: Path) -> None:
    vocabulary = (*COLOURS, *OTHERS, *THINGS)
    there = translator(tmp_path / "there", vocabulary, dict(zip(COLOURS, OTHERS, strict=True)))
    back = translator(tmp_path / "back", vocabulary, {})
    without = robustness(tmp_path / "without", plain, seeds=SEEDS[:3])
    returned, same = (
        robustness(tmp_path / name, plain, rewriter(Translation.load(*ways)), SEEDS[:3])
        for name, ways in (("returned", (there, back)), ("same", (back, back)))
    )
    assert returned > 0.95 > 0.85 > max(without, same)


def test_copies_that_change_nothing_teach_what_no_copies_do(tmp_path: Path) -> None:
    assert robustness(tmp_path / "with", both, rewriter(), SEEDS[:1]) == robustness(tmp_path, both, seeds=SEEDS[:1])


def three(folder: Path) -> tuple[Copies, list[list[list[int]]]]:
    """Copies of three items, two of each, one without any piece."""
    made = [[[1, 2], [3]], [[], [4]], [[5], [6, 7, 8]]]
    folder.mkdir()
    write_copies(folder, pa.chunked_array([pa.array(made[:1]), pa.array(made[1:])]))
    found = find_copies(folder, 3)
    assert found is not None
    return found, made


def test_an_item_is_read_in_any_of_its_texts_alike_and_the_same_for_the_same_draw(tmp_path: Path) -> None:
    shop = tiny.catalogue(tmp_path / "shop", ["red tea", "blue tea", "green tea"])
    copies, made = three(tmp_path / "examples")
    for item in range(3):
        read = Counter(tuple(copies.drawn(shop, draw)(item).tolist()) for draw in range(900))
        assert set(read) == {tuple(shop.pieces(item).tolist()), *map(tuple, made[item])}
        assert all(abs(times - 300) < 60 for times in read.values())
    assert copies.drawn(shop, 7)(2).tolist() == copies.drawn(shop, 7)(2).tolist()


def test_where_there_are_no_copies_the_originals_are_read(tmp_path: Path) -> None:
    assert find_copies(tmp_path, 3) is None


def test_a_batch_reads_histories_candidates_and_profiles_of_the_copy(tmp_path: Path) -> None:
    shop, tokens = tiny.catalogue(tmp_path / "shop", ["red tea", "blue tea", "green tea"]), tiny.tokens()
    copies, _ = three(tmp_path / "examples")
    [example] = cuts([tiny.user("u", [0, 1], text="old dog")])
    draw = next(draw for draw in range(99) if [len(copies.drawn(shop, draw)(item)) for item in (0, 1)] == [1, 1])
    example = replace(example, draw=draw, profile=np.array([9, 9], np.int32))
    batch = Batch(**Collator(tokens, shop, copies=copies)([example]))
    first, between = tokens.first, tokens.between
    assert batch.user_ids.tolist() == [first, 9, 9, between, 3, between]
    assert batch.item_ids.tolist() == [first, 4, between]


def test_lower_states_are_not_kept_of_items_whose_texts_change(tmp_path: Path) -> None:
    losses = []
    for frozen in (0, 1):  # the layer in which items do not see the user
        shop, place = open_shop(tmp_path / f"shop-{frozen}", texts(both)), tmp_path / f"{frozen}"
        write(place / "examples", rewriter(noise=Noise(delete=0.5)), both)
        training = plan(max_epochs=1, batch_examples=99, tuning=Tuning("full", 1, frozen, frozen_embeddings=False))
        losses += tune(tiny.scorer(layers=2), shop, cuts(likers(12, seed=1)), training, place, lambda _: 0.5).losses
    assert len(losses) == 2  # one step each: what differs in it is what is read
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_an_example_is_read_as_it_is_or_as_one_of_its_copies_and_anew_in_each_epoch(tmp_path: Path) -> None:
    copy = [{"profile": [7], "history": [3, 9]}, {"profile": None, "history": [4, 5]}]
    rows = [{"text": "t", "history": [1, 2], "words": [], "positives": [6], "others": [], "ratings": [],
             "positions": [], "seen": [1, 2, 6], "copies": copy} for _ in range(300)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "examples.parquet")
    shards = Shards(tmp_path, lambda _: lambda example, rng: np.zeros(0, np.int32), seed=1)
    first = list(shards)
    read = Counter((None if e.profile is None else e.profile[0], *e.history.tolist()) for e in first)
    assert set(read) == {(None, 1, 2), (7, 3, 9), (None, 4, 5)}
    assert all(abs(times - 100) < 35 for times in read.values())
    assert {tuple(e.seen.tolist()) for e in first if e.profile is not None} == {(1, 2, 3, 6, 9)}  # never negatives
    assert {(tuple(e.original.history.tolist()), e.original.profile) for e in first if e.original} == {((1, 2), None)}
    assert [e.draw for e in shards] == [e.draw for e in first]
    shards.set_epoch(1)
    assert [e.draw for e in shards] != [e.draw for e in first]
    assert len({e.draw for e in first}) == 300


def test_own_words_stay_with_their_items_in_a_mixed_history(tmp_path: Path) -> None:
    shop = tiny.catalogue(tmp_path / "shop", ["red tea", "blue tea", "green tea"])
    row = {
        "text": "",
        "history": [0, 1],
        "words": ["old", "new"],
        "positives": [2],
        "others": [],
        "ratings": [],
        "positions": [],
        "seen": [0, 1, 2],
        "copies": [{"profile": None, "history": history} for history in ([2, 1], [0, 2], [1, 0])],
    }
    (tmp_path / "examples").mkdir()
    pq.write_table(pa.Table.from_pylist([row] * 60), tmp_path / "examples" / "examples.parquet")
    tokens = tiny.tokens(replace(tiny.LIMITS, words_tokens=2))
    read = set()
    for example in Shards(tmp_path / "examples", lambda _: lambda one, rng: np.zeros(0, np.int32), seed=1):
        ids = Collator(tokens, shop)([example])["user_ids"].tolist()
        read.add(tokens.tokenizer.decode(ids, skip_special_tokens=False).replace(" [SEP]", ",").removeprefix("[CLS] "))
    original, mixed = "red tea old, blue tea new,", {"green tea, blue tea new,", "red tea old, green tea,"}
    assert read == {original, "blue tea new, red tea old,", *mixed}


def test_a_teacher_is_shown_the_original_of_a_copy(tmp_path: Path) -> None:
    shop, tokens = open_shop(tmp_path / "shop"), tiny.tokens()
    scorer = make_scorer("joint", tiny.backbone(layers=2), cached_layers=1, seed=0)
    teacher = Teacher(for_inference(scorer), tokens, shop)
    [one] = cuts([replace(tiny.user("u", [0, 1, 2], text="old dog"), words={})])[:1]
    write(tmp_path / "examples", rewriter(noise=Noise(delete=0.5)), plain)
    copies = find_copies(tmp_path / "examples", len(shop))
    copy = replace(one, history=one.history + 9, profile=tokens.pieces(["new"], 9)[0], original=one, draw=3)
    of_copy, of_original = (Batch(**Collator(tokens, shop, teacher, copies)([each])) for each in (copy, one))
    assert of_copy.user_ids.tolist() != of_original.user_ids.tolist()
    assert of_copy.taught.tolist() == of_original.taught.tolist()
    assert of_copy.taught.tolist() == Batch(**Collator(tokens, shop, teacher)([one])).taught.tolist()
