import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Encoding, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from llmrec.nn.tokens import TextLimits, Tokens
from tests import tiny

PAD, UNK, CLS, SEP = range(4)


def word_pieces(limits: TextLimits = tiny.LIMITS) -> Tokens:
    """A tokenizer that normalises and splits as BERT's own does."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "tea", "##pot", "茶", "чай", "cafe"]
    tokenizer = Tokenizer(WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return Tokens(tokenizer, first=CLS, between=SEP, limits=limits)


def items(*lengths: int) -> list[np.ndarray]:
    """Items of ``lengths`` pieces; the first item holds tens, the second twenties and so on."""
    return [np.full(length, 10 * (place + 1), np.int32) for place, length in enumerate(lengths)]


def profile(length: int) -> np.ndarray:
    return np.full(length, 99, np.int32)


def user_sequence(read: np.ndarray, history: list[np.ndarray], **limits: int) -> list[int]:
    defaults = {"history_items": 4, "history_tokens": 4, "max_user_tokens": 12, "max_item_tokens": 12}
    return tiny.tokens(TextLimits(**defaults | limits)).user_sequence(read, history).tolist()


def test_a_user_reads_profile_then_items_oldest_first() -> None:
    assert user_sequence(profile(2), items(1, 2)) == [CLS, 99, 99, SEP, 10, SEP, 20, 20, SEP]


def test_the_oldest_items_go_first_when_room_is_short() -> None:
    assert user_sequence(profile(0), items(3, 3, 3), max_user_tokens=9) == [CLS, 20, 20, 20, SEP, 30, 30, 30, SEP]
    assert user_sequence(profile(0), items(3, 3, 3), max_user_tokens=8) == [CLS, 30, 30, 30, SEP]


def test_an_item_that_does_not_fit_ends_the_history_and_leaves_no_gap() -> None:
    assert user_sequence(profile(0), items(1, 4, 2), max_user_tokens=8) == [CLS, 30, 30, SEP]


def test_only_the_latest_items_and_their_first_pieces_are_read() -> None:
    found = user_sequence(profile(0), items(9, 9, 9), history_items=2, history_tokens=3, max_user_tokens=40)
    assert found == [CLS, 20, 20, 20, SEP, 30, 30, 30, SEP]


def test_a_long_profile_keeps_at_most_half_and_leaves_room_for_the_latest_items() -> None:
    found = user_sequence(profile(50), items(2, 2, 2), max_user_tokens=13)
    assert found == [CLS, 99, 99, 99, 99, 99, SEP, 20, 20, SEP, 30, 30, SEP]


def test_a_user_with_nothing_is_one_token() -> None:
    assert user_sequence(profile(0), []) == [CLS]
    assert user_sequence(profile(1), []) == [CLS, 99, SEP]


def test_what_a_user_wrote_stands_after_the_item_within_its_budget() -> None:
    tokens = tiny.tokens(TextLimits(2, 1, 12, 12, words_tokens=2))
    tea, cup, pot = items(1, 1, 1)
    found = tokens.user_sequences(["red", ""], [[tea, cup, pot], [cup]], [["dog", "old cat song", ""], []])
    red, old, cat = (tokens.tokenizer.token_to_id(word) for word in ("red", "old", "cat"))
    assert [one.tolist() for one in found] == [[CLS, red, SEP, 20, old, cat, SEP, 30, SEP], [CLS, 20, SEP]]


def test_an_item_goes_with_the_words_on_it_where_room_is_short() -> None:
    tokens = tiny.tokens(TextLimits(4, 4, 8, 12, words_tokens=3))
    [found] = tokens.user_sequences([""], [items(2, 2)], [["old cat dog", "red tea cup"]])
    assert len(found) == 1 + 2 + 3 + 1  # two more pieces of the first item would fit, without its words


@given(words=st.lists(st.text(max_size=9), min_size=3, max_size=3))
def test_words_that_are_not_asked_for_change_nothing(words: list[str]) -> None:
    tokens = tiny.tokens()
    [with_words], [without] = (tokens.user_sequences(["red"], [items(2, 3, 1)], [said]) for said in (words, []))
    assert (
        with_words.tolist()
        == without.tolist()
        == tokens.user_sequence(tokens.pieces(["red"], 9)[0], items(2, 3, 1)).tolist()
    )


@given(
    read=st.integers(0, 60),
    lengths=st.lists(st.integers(0, 9), max_size=9),
    most=st.integers(8, 40),
    kept=st.integers(1, 12),
    latest=st.integers(1, 6),
)
def test_every_user_sequence_keeps_to_its_limits(
    read: int, lengths: list[int], most: int, kept: int, latest: int
) -> None:
    found = user_sequence(
        profile(read), items(*lengths), max_user_tokens=most, history_tokens=kept, history_items=latest
    )
    assert len(found) <= most
    assert found[0] == CLS
    assert found.count(99) + (read > 0) <= most / 2
    shown = found.count(SEP) - (read > 0)
    assert shown <= latest
    whole = [piece for one in items(*lengths)[len(lengths) - shown :] for piece in [*one[:kept].tolist(), SEP]]
    assert found[len(found) - len(whole) :] == whole


@pytest.mark.parametrize("text", ["", " ", "\n\t \u00a0", "\u3000"])
def test_a_text_without_words_has_no_pieces_and_still_frames(text: str) -> None:
    tokens = word_pieces()
    [pieces] = tokens.item_pieces([text])
    assert pieces.dtype == np.int32
    assert tokens.item_sequence(pieces).tolist() == [CLS, SEP]


def test_no_text_at_all_gives_no_pieces() -> None:
    assert word_pieces().item_pieces([]) == []


def test_item_pieces_leave_room_for_the_special_tokens() -> None:
    tokens = tiny.tokens()
    [pieces] = tokens.item_pieces(["red tea " * 50])
    assert len(tokens.item_sequence(pieces)) == tiny.LIMITS.max_item_tokens


class Listening:
    """A tokenizer that remembers the longest text it was given."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self.longest = tokenizer, 0

    def encode_batch(self, texts: list[str], **how: bool) -> list[Encoding]:
        self.longest = max(self.longest, *map(len, texts))
        return self._tokenizer.encode_batch(texts, **how)

    def __getattr__(self, name: str) -> object:
        return getattr(self._tokenizer, name)


def test_a_text_of_100_000_words_is_cut_before_it_is_tokenised() -> None:
    tokens = word_pieces()
    tokens.tokenizer = Listening(tokens.tokenizer)
    [pieces] = tokens.pieces(["teapot " * 100_000], 12)
    assert pieces.tolist() == [4, 5] * 6
    assert tokens.tokenizer.longest <= 12 * 40


def test_emoji_and_mixed_scripts_become_pieces_of_their_own() -> None:
    [pieces] = word_pieces().pieces(["Café🫖чай teapot茶 👩‍👩‍👧"], 12)
    assert pieces.tolist() == [UNK, 4, 5, 6, UNK]  # no space: one unknown word; CJK characters stand alone


@pytest.mark.parametrize("text", ["te\x00a", "\x07tea\x1b", "te\u200ba\ufeff", "tea\r\n"])
def test_control_characters_are_dropped(text: str) -> None:
    assert [pieces.tolist() for pieces in word_pieces().pieces([text], 12)] == [[4]]


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=6))
def test_each_text_has_the_same_pieces_alone_and_in_a_batch(texts: list[str]) -> None:
    tokens = word_pieces()
    together = [pieces.tolist() for pieces in tokens.pieces(texts, 7)]
    assert together == [tokens.pieces([text], 7)[0].tolist() for text in texts]
    assert all(len(pieces) <= 7 for pieces in together)


def test_a_tokenizer_saved_with_padding_pads_nothing() -> None:
    tokenizer = tiny.tokenizer().backend_tokenizer
    tokenizer.enable_padding(length=9)
    tokens = Tokens(tokenizer, first=CLS, between=SEP, limits=tiny.LIMITS)
    assert [len(pieces) for pieces in tokens.pieces(["red tea", "cup"], 12)] == [2, 1]


def test_special_tokens_written_in_a_text_are_text() -> None:
    [pieces] = tiny.tokens().pieces(["red [SEP] tea [CLS] [PAD]"], 12)
    assert not {PAD, CLS, SEP} & set(pieces.tolist())
