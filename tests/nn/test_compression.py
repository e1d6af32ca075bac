"""What `train --export` understands, and what it refuses."""

from collections.abc import Sequence

import pytest

from llmrec.errors import ConfigError
from llmrec.nn.catalogue import Catalogue
from llmrec.nn.compression import Compression
from llmrec.nn.prefix import PrefixScorer
from llmrec.nn.pruning import Lists
from llmrec.nn.scorers import make_scorer
from llmrec.nn.unread import Unread
from tests import tiny
from tests.nn.planted_shop import likers


def test_options_are_read() -> None:
    assert Compression.of(["int8"]) == Compression(int8=True)
    assert Compression.of(["layers=4", "int8", "heads=2"]) == Compression(int8=True, layers=4, heads=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [(["int4"], "--export: 'int4', expected int8, layers=N or heads=N"),
     (["layers"], "--export: 'layers', expected"),
     (["layers=0"], "--export: 'layers=0', expected"),
     (["heads=two"], "--export: 'heads=two', expected"),
     (["int8=1"], "--export: 'int8=1', expected"),
     (["layers=2", "layers=1"], "--export: layers is there twice, expected it once")],
)  # fmt: skip
def test_options_that_are_not_understood_are_refused(options: Sequence[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Compression.of(options)


@pytest.mark.parametrize(
    ("asked", "name", "family", "message"),
    [("layers=3", "prefix", "bert", "--export layers=3: it has 3, expected fewer"),
     ("heads=4", "prefix", "bert", "--export heads=4: it has 4, expected fewer"),
     ("int8", "dot", "bert", "--export int8: it has scorer dot, which is not scored in int8; expected prefix"),
     ("int8", "joint", "bert", "--export int8: it has scorer joint"),
     ("layers=2", "prefix", "modernbert", "--export: the encoder of it has adapters, virtual tokens or rotary")],
)  # fmt: skip
def test_what_cannot_be_made_smaller_is_refused(asked: str, name: str, family: str, message: str) -> None:
    scorer = make_scorer(name, tiny.backbone(family), cached_layers=1)
    with pytest.raises(ConfigError, match=message):
        Compression.of([asked]).require_fitting(scorer, "it")


def test_what_was_added_to_an_encoder_is_not_left_out_silently() -> None:
    scorer = tiny.scorer()
    scorer.backbone.add_adapters(4)
    with pytest.raises(ConfigError, match="the encoder of it has adapters"):
        Compression.of(["int8"]).require_fitting(scorer, "it")


def test_a_model_that_reads_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="--export: it has scorer none, expected one that reads texts"):
        Compression.of(["layers=1"]).require_fitting(Unread(), "it")


def test_layers_heads_and_numbers_get_smaller_together_and_int8_stays(shop: Catalogue) -> None:
    lists = Lists.of(likers(6, seed=7), [{1, 2}] * 6, tiny.tokens(), shop, seed=1)
    scorer = tiny.scorer(cached_layers=1)
    small, left = Compression.of(["int8", "layers=2", "heads=3"]).apply(scorer, lists)
    assert isinstance(small, PrefixScorer)
    assert small.is_rounded and not scorer.is_rounded
    assert (small.backbone.shape.layers, small.backbone.shape.heads, small.backbone.shape.width_of_head) == (2, 3, 8)
    assert [len(left["layers"]), [len(heads) for heads in left["heads"]]] == [2, [3, 3]]
    with pytest.raises(ConfigError, match="--export int8: it is in int8 already"):
        Compression.of(["int8"]).require_fitting(small, "it")
    smaller, _ = Compression.of(["heads=1"]).apply(small, lists)
    assert smaller.is_rounded
    assert smaller.backbone.shape.width_of_head == 8
