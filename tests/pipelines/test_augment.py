from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import BertPreTokenizer

from llmrec.config import load_config
from llmrec.errors import ArtifactError, ConfigError, InputTableError
from llmrec.nn.tokens import Tokens
from llmrec.pipelines.augment import Augmentation, open_rewriter
from llmrec.settings.config import Config
from llmrec.settings.texts import Encoder
from llmrec.settings.training import Augment, Train
from llmrec.spark.shipping import Shipped
from tests import tiny


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.encoder_folder(tmp_path_factory.mktemp("encoder"))


def config(encoder: Path, **augment: object) -> Config:
    return Config(encoder=Encoder(path=str(encoder)), train=Train(augment=Augment(**augment)))  # type: ignore[arg-type]


def test_nothing_is_opened_where_no_text_is_changed(tmp_path: Path) -> None:
    assert open_rewriter(config(tmp_path / "nowhere"), tiny.tokens()) is None
    assert open_rewriter(config(tmp_path / "nowhere", mix=0.5, copies=9), tiny.tokens()) is None


def test_what_is_missing_is_named_before_anything_starts(encoder: Path, tmp_path: Path) -> None:
    for said, error, message in (
        ({"synonyms": f"{tmp_path}/none.csv"}, InputTableError, r"train\.augment\.synonyms: .*none\.csv"),
        (
            {"masked_language": 0.2},
            ArtifactError,
            r"masked_language: .*encoder.*: holds no masked-language head .*cls\.",
        ),
        (
            {"back_translation": (f"{tmp_path}/to", f"{tmp_path}/from")},
            ArtifactError,
            r"back_translation: .*/to: cannot",
        ),
        ({"back_translation": (str(encoder), str(encoder))}, ArtifactError, r"back_translation: .*encoder.*: cannot"),
        ({"mask": 0.2, "encoder": tmp_path}, ArtifactError, "holds no tokenizer"),
    ):
        with pytest.raises(error, match=message):
            open_rewriter(config(**{"encoder": encoder} | said), tiny.tokens())  # type: ignore[arg-type]


def test_texts_are_masked_by_the_encoders_own_token(encoder: Path) -> None:
    rewriter = open_rewriter(config(encoder, mask=0.9, copies=1), tiny.tokens())
    assert rewriter is not None
    [[pieces]] = rewriter.copies(["i"], ["red tea red tea red tea"], 10)
    assert tiny.tokenizer().mask_token_id in pieces.tolist()


def test_words_are_masked_as_the_tokenizer_that_reads_them_numbers_its_tokens(encoder: Path) -> None:
    tokens = tiny.tokens()
    names = sorted(tokens.tokenizer.get_vocab(), reverse=True)
    other = Tokenizer(WordLevel({name: place for place, name in enumerate(names)}, unk_token="[UNK]"))
    other.pre_tokenizer = BertPreTokenizer()
    theirs = Tokens(other, first=names.index("[CLS]"), between=names.index("[SEP]"), limits=tokens.limits)
    rewriter = open_rewriter(config(encoder, mask=0.9, copies=1), theirs)
    assert rewriter is not None
    [[pieces]] = rewriter.copies(["i"], ["red tea red tea red tea"], 10)
    assert "[MASK]" in [names[piece] for piece in pieces]


@pytest.mark.parametrize("without", ["scorer=none", "scorer=content", "ranker=next"])
def test_where_no_scorer_learns_there_is_nothing_to_augment(without: str) -> None:
    for said in ("mix=0.2", "delete=0.1", "synonyms=x.csv"):
        with pytest.raises(ConfigError, match=r"augment changes what fine-tuning reads: with scorer .* no scorer is"):
            load_config(None, [f"train.{without}", f"train.augment.{said}"])
    assert load_config(None, [f"train.{without}", "train.augment.copies=2"]).train.augment.copies == 2


def test_a_profile_is_copied_as_each_example_tells_it(spark: SparkSession, encoder: Path, tmp_path: Path) -> None:
    asked, tokens = config(encoder, swap=0.9, copies=2), tiny.tokens()
    rewriter = open_rewriter(asked, tokens)
    assert rewriter is not None
    rewriter.save(tmp_path / "rewriter")
    rows = [("a", "1", "red tea", [1], [2]), ("a", "2", "blue tea", [1], [3]), ("b", "1", "", [1], [2])]
    sampled = spark.createDataFrame(
        rows, "user_id string, part string, text string, history array<int>, positives array<int>"
    )
    added = Augmentation(asked, sampled, Shipped(str(tmp_path / "rewriter"), ""), "").examples(sampled)
    found = {(row.user_id, row.part): [one.profile for one in row.copies] for row in added.collect()}
    red, blue = (sorted(pieces.tolist()) for pieces in tokens.pieces(["red tea", "blue tea"], 9))
    assert [sorted(one) for one in found["a", "1"]] == [red] * 2
    assert [sorted(one) for one in found["a", "2"]] == [blue] * 2
    assert found["b", "1"] == [None, None]
