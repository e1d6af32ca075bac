"""Texts in Chinese, and in Chinese and English without a space between them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers.pre_tokenizers import ByteLevel
from transformers import BertTokenizer, PreTrainedTokenizerFast, RobertaTokenizer, XLMRobertaTokenizer

from llmrec.nn.plan import Outcome
from llmrec.nn.pretrained import load_backbone, load_tokens
from llmrec.nn.scorers import make_scorer
from tests import tiny
from tests.nn.planted_shop import cuts, likers, plan, quality, tune

COLOURS = ("红", "蓝", "绿")
THINGS = ("茶", "tea", "cup", "杯", "book", "film", "书", "dog", "cat")
TITLES = ("{0}色{1}", "{0}{1}", "新款 {1}（{0}）")  # noqa: RUF001, the brackets that Chinese uses
Kind = Callable[[], PreTrainedTokenizerFast]
PIECES = [*COLOURS, *THINGS, *"色新款（）"]  # noqa: RUF001


def chinese(whole_words: bool = False) -> PreTrainedTokenizerFast:
    """As that of bert-base-chinese, which takes Chinese apart into characters."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {piece: place for place, piece in enumerate(special + PIECES)}
    return BertTokenizer(vocab=vocabulary, tokenize_chinese_chars=not whole_words)


def of_bytes() -> PreTrainedTokenizerFast:
    """As RoBERTa's, to which a Chinese character is three bytes."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = {piece: place for place, piece in enumerate(special + sorted(ByteLevel.alphabet()))}
    return RobertaTokenizer(vocab=vocabulary, merges=[])


def of_sentences() -> PreTrainedTokenizerFast:
    """As XLM-RoBERTa's, which knows no words but what is likely."""
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -9.0)]
    return XLMRobertaTokenizer(vocab=[*special, *((piece, -2.0) for piece in PIECES), ("<mask>", 0.0)])


def learn(tokenizer: PreTrainedTokenizerFast, folder: Path) -> Outcome:
    """Fine-tune on a shop in which who likes red things goes on to like red things, 红 as it is written."""
    tiny.encoder(layers=2).save_pretrained(folder / "encoder")
    tokenizer.save_pretrained(folder / "encoder")
    tokens = load_tokens(str(folder / "encoder"), tiny.LIMITS)
    scorer = make_scorer("prefix", load_backbone(str(folder / "encoder")), cached_layers=1, seed=0)
    titles = [TITLES[place % 3].format(colour, thing) for colour in COLOURS for place, thing in enumerate(THINGS)]
    shop = tiny.catalogue(folder / "shop", titles, read_by=tokens)
    examples = cuts(likers(60, seed=1))
    return tune(
        scorer, shop, examples, plan(max_epochs=3), folder, lambda one: quality(one, shop, tokens=tokens), tokens=tokens
    )


def test_a_pattern_in_chinese_and_mixed_titles_is_learned(tmp_path: Path) -> None:
    outcome = learn(chinese(), tmp_path)
    assert outcome.ndcg > 0.9 > 0.6 > outcome.ndcg_before


def test_a_tokenizer_that_does_not_know_the_language_teaches_nothing(tmp_path: Path) -> None:
    assert learn(chinese(whole_words=True), tmp_path).ndcg < 0.7


@pytest.mark.parametrize("kind", [chinese, of_bytes, of_sentences])
def test_texts_without_spaces_are_cut_at_their_budgets_of_tokens(kind: Kind, tmp_path: Path) -> None:
    tokenizer = kind()
    tokenizer.save_pretrained(tmp_path)
    tokens, frame = load_tokens(str(tmp_path), tiny.LIMITS), (tokenizer.cls_token_id, tokenizer.sep_token_id)
    texts = ["红色tea杯" * 500, "红色tea杯", "新款cup（绿）书" * 3, "红"]  # noqa: RUF001
    whole, cut = tokens.pieces(texts, 9999), tokens.item_pieces(texts)
    assert len(whole[0]) > 1000
    assert [one.tolist() for one in cut] == [one[: tiny.LIMITS.max_item_tokens - 2].tolist() for one in whole]
    assert not {tokenizer.unk_token_id, *frame} & set(np.concatenate(whole).tolist())
    shown, read = tokens.item_sequence(cut[0]), tokens.user_sequence(whole[0], whole)
    assert [(one[0], one[-1]) for one in (shown, read)] == [frame, frame]
    assert len(shown) == tiny.LIMITS.max_item_tokens
    assert len(read) <= tiny.LIMITS.max_user_tokens
