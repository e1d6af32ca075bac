"""A student learns from a teacher what the examples do not tell."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import BertPreTokenizer

from llmrec.nn.artifact import save_encoder
from llmrec.nn.batches import Collator
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.examples import Example
from llmrec.nn.losses import distilled
from llmrec.nn.negatives import Negatives
from llmrec.nn.objectives import Objectives
from llmrec.nn.plan import Outcome, Tuning
from llmrec.nn.scorer import Scorer
from llmrec.nn.scorers import make_scorer
from llmrec.nn.teacher import Teacher, write_teacher
from llmrec.nn.tokens import Tokens
from tests import tiny
from tests.nn.planted_shop import cuts, likers, plan, quality, tune

RATES = {"prefix": 3e-3, "dot": 1e-3, "bilinear": 1e-3, "attention": 1e-3}
CPU = torch.device("cpu")


@dataclass(frozen=True)
class School:
    """Folders of teachers; the first is a joint scorer that has learned the pattern, and was seen to know it."""

    knowing: Path
    untrained: Path
    scorer: Scorer


def written(folder: Path, scorer: Scorer, shop: Catalogue, tokens: Tokens | None = None) -> Path:
    save_encoder(folder / "model", scorer, tokens or tiny.tokens())
    write_teacher(folder / "teacher", folder / "model", shop.table["title"].to_pylist())
    return folder / "teacher"


@pytest.fixture(scope="module")
def school(shop: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> School:
    folder = tmp_path_factory.mktemp("school")
    scorer, fresh = (make_scorer("joint", tiny.backbone(layers=2), cached_layers=1, seed=0) for _ in range(2))
    training = plan(objectives={"listwise": 1.0}, learning_rate=3e-3)
    outcome = tune(scorer, shop, cuts(likers(60, seed=1)), training, folder, lambda one: quality(one, shop))
    assert outcome.ndcg > 0.9
    return School(written(folder / "knowing", scorer, shop), written(folder / "untrained", fresh, shop), scorer)


def noised(count: int = 60) -> list[Example]:
    """What users of one taste took next, dealt out at random: of likes nothing can be learned but noise."""
    rng = np.random.default_rng(5)
    return [
        replace(one, positives=rng.choice(27, len(one.positives), replace=False).astype(np.int32))
        for one in cuts(likers(count, seed=1))
    ]


def taught(
    shop: Catalogue, folder: Path, name: str, teacher: Path | None, method: str = "full"
) -> tuple[Scorer, Outcome]:
    scorer = make_scorer(name, tiny.backbone(layers=2, seed=3), cached_layers=1, seed=0)
    training = plan(
        objectives={"listwise": 1.0} | ({"distill": 1.0} if teacher else {}), teacher=teacher,
        tuning=Tuning(method, 4, 0, frozen_embeddings=False),
        learning_rate=RATES[name] * (1 if method == "full" else 10),
    )  # fmt: skip
    return scorer, tune(scorer, shop, noised(), training, folder, lambda one: quality(one, shop))


@pytest.mark.parametrize(
    "name", ["prefix", "dot", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bilinear", "attention"))]
)
def test_a_student_learns_of_a_teacher_what_noised_likes_do_not_tell(
    shop: Catalogue, school: School, tmp_path: Path, name: str
) -> None:
    by_likes, by_ignorant, by_knowing = (
        taught(shop, tmp_path / f"{place}", name, teacher)[1].ndcg
        for place, teacher in enumerate((None, school.untrained, school.knowing))
    )
    assert by_knowing > 0.9
    assert by_knowing > max(by_likes, by_ignorant) + 0.15


@pytest.mark.parametrize("method", ["lora", pytest.param("adapters", marks=pytest.mark.slow)])
def test_whatever_learns_in_the_student_learns_of_the_teacher(
    shop: Catalogue, school: School, tmp_path: Path, method: str
) -> None:
    alone, with_teacher = (
        taught(shop, tmp_path / f"{place}", "attention", teacher, method)[1].ndcg
        for place, teacher in enumerate((None, school.knowing))
    )
    assert with_teacher > alone + 0.1


def lists(shop: Catalogue, count: int = 6) -> list[Example]:
    """Examples with negatives, and a profile."""
    draw, rng = Negatives(shop, 5, {"random": 1.0}), np.random.default_rng(0)
    return [replace(one, text="old cat", negatives=draw(one, rng)) for one in cuts(likers(count, seed=4))]


def lessons(shop: Catalogue, teacher: Path, examples: list[Example]) -> list[float]:
    return Collator(tiny.tokens(), shop, Teacher.load(teacher, shop, CPU))(examples)["taught"].tolist()


def test_the_teacher_scores_each_pair_of_a_batch_as_it_scores_it_alone(shop: Catalogue, school: School) -> None:
    examples = lists(shop)
    pairs = [
        replace(one, positives=np.array([item], np.int32), negatives=one.negatives[:0])
        for one in examples
        for item in (*one.positives, *one.negatives)
    ]
    alone = [score for pair in pairs for score in lessons(shop, school.knowing, [pair])]
    together = lessons(shop, school.knowing, examples)
    assert together == pytest.approx(alone, abs=0.03 * np.std(alone))  # bfloat16, where the processor has it
    assert np.std(alone) > 1


def test_a_teacher_reads_with_its_own_tokenizer(shop: Catalogue, school: School, tmp_path: Path) -> None:
    own = tiny.tokens()
    ids, names = own.tokenizer.get_vocab(), ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *reversed(tiny.WORDS)]
    other = Tokenizer(WordLevel({word: place for place, word in enumerate(names)}, unk_token="[UNK]"))
    other.pre_tokenizer = BertPreTokenizer()
    translated = make_scorer("joint", tiny.backbone(layers=2), cached_layers=1)
    translated.load_state_dict(school.scorer.state_dict())
    with torch.no_grad():
        words, before = translated.backbone.embeddings.words.weight, school.scorer.backbone.embeddings.words.weight
        words[: len(names)] = before[[ids[name] for name in names]]
    tokens = Tokens(other, first=own.first, between=own.between, limits=own.limits)
    teacher = written(tmp_path, translated, shop, tokens)
    assert lessons(shop, teacher, lists(shop)) == lessons(shop, school.knowing, lists(shop))


def test_a_killed_training_is_taught_on_to_the_same_result(shop: Catalogue, school: School, tmp_path: Path) -> None:
    def trained(folder: Path, last: int) -> tuple[Scorer, Outcome]:
        scorer, looks = make_scorer("dot", tiny.backbone(layers=2, seed=3), cached_layers=1, seed=0), []

        def judge(one: Scorer) -> float:
            looks.append(quality(one, shop))
            if len(looks) == last:
                raise KeyboardInterrupt
            return looks[-1]

        training = plan(objectives={"distill": 1.0}, teacher=school.knowing, validations=3, max_epochs=1)
        return scorer, tune(scorer, shop, noised(24), training, folder, judge)

    whole, expected = trained(tmp_path / "whole", last=99)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", last=3)
    resumed, outcome = trained(tmp_path / "killed", last=99)
    assert outcome == expected
    for name, weights in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weights, rtol=0, atol=0)


def test_distilled_is_the_divergence_of_softened_lists() -> None:
    students, teachers = [[1.5, -0.5, 0.2], [0.3, 2.0], [0.7]], [[0.5, 0.1, -2.0], [0.3, 2.0], [-4.0]]
    expected = []
    for own, theirs in zip(students, teachers, strict=True):
        q, p = (np.exp(np.array(one) / 2) / np.exp(np.array(one) / 2).sum() for one in (own, theirs))
        expected.append(4 * (p * np.log(p / q)).sum())
    flat = torch.tensor([one for own in students for one in own], requires_grad=True)
    places = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 1, 2, 0, 1, 0])
    padded = torch.full((3, 3), -torch.inf)
    taught = padded.index_put(places, torch.tensor([one for theirs in teachers for one in theirs]))
    loss = distilled(padded.index_put(places, flat), taught)
    assert loss.tolist() == pytest.approx(expected, abs=1e-6)
    assert expected[0] > 0.1
    loss.sum().backward()
    assert torch.isfinite(flat.grad).all()  # type: ignore[arg-type]


def test_without_a_teacher_nothing_is_distilled(shop: Catalogue) -> None:
    scorer = make_scorer("dot", tiny.backbone(layers=2), cached_layers=1, seed=0)
    with pytest.raises(ValueError, match="expected a plan that has one"):
        Objectives(scorer, plan(objectives={"distill": 1.0}), None)(Collator(tiny.tokens(), shop)(lists(shop)))
