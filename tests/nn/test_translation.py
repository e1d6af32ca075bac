from pathlib import Path

import pytest
from transformers import T5Config, T5ForConditionalGeneration

from llmrec.errors import ArtifactError
from llmrec.nn.rewriter import Rewriter, Rewriting
from llmrec.nn.translation import Translation
from tests import tiny
from tests.nn.translators import translator

WORDS = ("red", "blue", "crimson", "azure", "jade", "tea", "coffee", "cup")


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """There red becomes crimson, blue azure and tea coffee; back, crimson becomes jade."""
    folder = tmp_path_factory.mktemp("ways")
    return translator(folder / "to", WORDS, {"red": "crimson", "blue": "azure", "tea": "coffee"}), translator(
        folder / "from", WORDS, {"crimson": "jade", "coffee": "tea"}
    )


def test_texts_go_there_and_back_through_both_models(ways: tuple[str, str], tmp_path: Path) -> None:
    texts = ["red tea", "blue cup", "cup", "cup red"]
    back = ["jade tea", "azure cup", "cup", "cup jade"]
    translation = Translation.load(*ways)
    assert translation(texts, copies=1, at_most=8) == [[text] for text in back]
    three = translation(texts, copies=3, at_most=8)
    assert [row[0] for row in three] == back
    assert all(len(set(row)) > 1 for row in three)  # the next likeliest
    assert [translation([text], copies=3, at_most=8)[0] for text in texts] == three
    translation.save(tmp_path)
    assert Translation.open(tmp_path)(texts, copies=3, at_most=8) == three


def test_copies_are_translated_before_anything_else_is_done_to_them(ways: tuple[str, str], tmp_path: Path) -> None:
    plan = Rewriting(seed=1, copies=1, synonyms={"jade": ["green"]}, synonym_share=1.0)
    Rewriter(plan, tiny.tokens(), None, translation=Translation.load(*ways)).save(tmp_path / "rewriter")
    copies = Rewriter.load(tmp_path / "rewriter").copies(["a", "b"], ["red tea", "cup"], 10)
    assert [tiny.tokenizer().decode(one[0]) for one in copies] == ["green tea", "cup"]


def test_any_family_that_writes_texts_from_texts_will_do(tmp_path: Path) -> None:
    config = T5Config(vocab_size=30, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    [row] = Translation.load(str(tmp_path), str(tmp_path))(["red tea"], copies=2, at_most=6)
    assert len(row) == 2


def test_a_folder_that_holds_no_such_model_is_refused(tmp_path: Path, ways: tuple[str, str]) -> None:
    tiny.encoder_folder(tmp_path / "encoder")
    for there, back in ((str(tmp_path / "none"), ways[1]), (ways[0], str(tmp_path / "encoder"))):
        with pytest.raises(
            ArtifactError, match=r"train\.augment\.back_translation: .*cannot be loaded as a model that"
        ):
            Translation.load(there, back)
