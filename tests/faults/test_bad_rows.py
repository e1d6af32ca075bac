"""Ten thousand wrong rows among good ones: these stay as they are, and each wrong one is found with its reason."""

from pathlib import Path

from pyspark.sql import SparkSession

from tests.faults.bad_rows import KINDS, ROWS, make_corpus, prepare
from tests.faults.shop import Outcome, Shop


def test_of_ten_thousand_wrong_rows_each_is_in_quarantine_with_its_reason_and_good_ones_are_untouched(
    spark: SparkSession, tmp_path: Path
) -> None:
    corpus = make_corpus()
    assert corpus.expected.total() == ROWS == 10_000
    assert len(KINDS) >= 30
    assert prepare(Shop(spark, tmp_path), corpus) == Outcome()
