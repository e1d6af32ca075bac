"""Files that are damaged or gone when a job comes to read them."""

import hashlib
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from tests.faults.fault import Fault
from tests.faults.shop import Outcome, Shop, Shops

Damage = Callable[[Shop], None]


def refuse(shops: Shops, damage: Damage, says: str, job: str = "score") -> Outcome:
    """Damage a shop, run ``job``: it says in one sentence what is wrong, and why, and changes nothing."""
    shop, outcome = shops.fresh(), Outcome()
    damage(shop)
    before = _files(shop)
    ended = shop.run(job)
    outcome.expect(ended.code == 2, f"the run ended with {ended.code}, expected 2: {ended.said[-1500:]}")
    last = ended.said.rstrip().rpartition("\n")[2]
    outcome.expect(bool(re.search(says, last)), f"the last line is {last!r}, expected {says!r} in it")
    outcome.expect("Traceback" not in ended.said, "a traceback was shown")
    after = _files(shop)
    changed = [path for path in before if after.get(path) != before[path]]
    changed += [path for path in after if path not in before and "_delta_log" in path.parts]  # no reader sees others
    outcome.expect(not changed, f"files of tables changed, expected none: {', '.join(map(str, changed[:3]))}")
    shops.untouched(shop, outcome)
    return outcome


def _files(shop: Shop) -> dict[Path, bytes]:
    """Return what the files of all tables hold but those of runs, where the failure is recorded."""
    lake = shop.folder / "lake"
    return {path: path.read_bytes() for path in lake.rglob("*") if path.is_file() and lake / "runs" not in path.parents}


def data_files(shop: Shop, table: str) -> list[Path]:
    """Return the Parquet files of the present version of a table."""
    return [Path(urlsplit(name).path) for name in shop.table(table).inputFiles()]


def cut_parquet(shop: Shop, with_checksums: bool) -> None:
    """Cut a Parquet file of events in the middle; beside it lie Hadoop's checksums, but not on an object store."""
    for path in data_files(shop, "events"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        if not with_checksums:
            path.with_name(f".{path.name}.crc").unlink()


def garble_parquet(shop: Shop) -> None:
    """Write zeros into the middle of a Parquet file of events, whose footer stays."""
    for path in data_files(shop, "events"):
        whole = bytearray(path.read_bytes())
        whole[4:200] = bytes(196)
        path.write_bytes(whole)
        path.with_name(f".{path.name}.crc").unlink()


def cut_log(shop: Shop, keep: float) -> None:
    """Cut the last commit in the log of events."""
    log = sorted((shop.folder / "lake/events/_delta_log").glob("*.json"))[-1]
    log.write_bytes(log.read_bytes()[: int(keep * log.stat().st_size)])
    for checksum in log.parent.glob("*.crc"):
        checksum.unlink()


def half_a_model(shop: Shop) -> None:
    """Leave of the model what a copy that was cut short leaves: some files, one of them cut, no manifest."""
    (shop.folder / "model/manifest.json").unlink()
    weights = shop.folder / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def cut_weights(shop: Shop) -> None:
    """Cut the weights."""
    weights = shop.folder / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def another_width(shop: Shop) -> None:
    """Let scorer.json tell of an encoder of another dimension than the weights; the manifest knows both files."""
    model = shop.folder / "model"
    settings = json.loads((model / "scorer.json").read_text())
    settings["backbone"]["width"] *= 2
    (model / "scorer.json").write_text(json.dumps(settings))
    manifest = json.loads((model / "manifest.json").read_text())
    manifest["files"]["scorer.json"] = hashlib.sha256((model / "scorer.json").read_bytes()).hexdigest()
    manifest["encoder_version"] = "of-another"
    (model / "manifest.json").write_text(json.dumps(manifest))


def another_dimension(shop: Shop) -> None:
    """Let item_vectors hold vectors of another dimension than the encoder's."""
    shorter = shop.table("item_vectors").selectExpr("model_version", "text_sha", "tokens", "slice(vector, 1, 7) vector")
    shop.spark.createDataFrame(shorter.collect(), shorter.schema).write.format("delta").mode("overwrite").save(
        f"{shop.folder}/lake/item_vectors"
    )


def no_events(shop: Shop) -> None:
    """Remove the files of events, but not its log."""
    for path in data_files(shop, "events"):
        path.unlink()


def corrupt_source(shop: Shop) -> None:
    """Let the source of events be Parquet, one file of which is cut."""
    source = shop.folder / "events.csv"
    rows = shop.spark.read.options(header="true").csv(str(source))
    rows = shop.spark.createDataFrame(rows.collect(), rows.schema).repartition(2)
    source.unlink()
    rows.write.parquet(str(source))
    path = next(source.glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-100])
    config = shop.folder / "config.yaml"
    settings = yaml.safe_load(config.read_text())
    settings["sources"]["events"] |= {"format": "parquet", "options": {}}
    config.write_text(yaml.safe_dump(settings))


FAULTS = [
    Fault(name, partial(refuse, damage=damage, says=says, job=job))
    for name, damage, says, job in (
        ("a cut Parquet file, with checksums", partial(cut_parquet, with_checksums=True),
         r"lake/events/part-.*: cannot be read \(Checksum error", "score"),
        ("a cut Parquet file", partial(cut_parquet, with_checksums=False),
         r"lake/events/part-.*: cannot be read \(.* is not a Parquet file", "score"),
        ("a garbled Parquet file", garble_parquet,
         r"lake/events/part-.*: cannot be read \(Required field 'uncompressed_page_size' was not found", "score"),
        ("missing Parquet files", no_events,
         r"lake/events/part-.*: is gone, expected it as long as it is read", "score"),
        ("a cut Delta log", partial(cut_log, keep=0.5),
         r"lake/events: its Delta log cannot be read \(Unexpected end-of-input", "score"),
        ("an empty commit in a Delta log", partial(cut_log, keep=0),
         r"lake/events: its Delta log cannot be read \(\[DELTA_STATE_RECOVER_ERROR\]", "score"),
        ("a cut Parquet file of a source", corrupt_source,
         r"sources\.events: .*events\.csv: cannot be read: Checksum error", "prepare"),
        ("half a model", half_a_model, r"model holds no manifest\.json; expected a folder written by", "score"),
        ("cut weights", cut_weights, r"model\.safetensors: has sha256 \w+\.\.\., the manifest says", "score"),
        ("a model of another dimension", another_width,
         r"model\.safetensors: does not fit scorer\.json \(.*size mismatch", "score"),
        ("item vectors of another dimension", another_dimension,
         r"item_vectors: vectors of this model have 7 numbers, its encoder gives 32", "score"),
    )
]  # fmt: skip
