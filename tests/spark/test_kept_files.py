"""Which task leaves what of items."""

from collections import Counter
from datetime import date
from pathlib import Path

from llmrec.nn.recommender import Recommender
from llmrec.spark.kept_files import KeptFiles
from tests import tiny

TEXTS = ["red tea", "blue cup", "old pot"]


def recommender(folder: Path) -> Recommender:
    catalogue = tiny.catalogue(folder, TEXTS)
    sizes = tiny.sizes(0, popularity=3, pair_scored=3)
    return Recommender(catalogue=catalogue, scorer=tiny.scorer(), tokens=tiny.tokens(), sizes=sizes, fusion=None)


def test_the_first_bucket_alone_leaves_states_of_items_and_only_if_it_had_to_encode_some(tmp_path: Path) -> None:
    files = KeptFiles(tmp_path / "kept", date(2026, 2, 9), date(2026, 2, 2), 1 << 20, 1 << 20)

    def task(bucket: int) -> float | None:
        one = recommender(tmp_path / f"catalogue-{len(list(tmp_path.iterdir()))}")
        counts = Counter[str]()
        reuse = files.open(bucket, one, counts)
        list(one.score([tiny.user("u", [0])], reuse))
        files.close(bucket, one, reuse, counts)
        assert not counts
        kept = files.folder / "items.states"
        assert not list(files.folder.glob(".*"))
        return kept.stat().st_mtime_ns if kept.exists() else None

    assert task(1) is None
    written = task(0)
    assert written is not None
    assert task(0) == task(1) == written
