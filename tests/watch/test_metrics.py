import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from llmrec.watch.metrics import write_metrics
from llmrec.watch.stage import Stage

INFO = {"model_version": "feedc0ffee12", "run_date": "2026-01-31", "run_id": "run1"}
SCORES = Stage("scores", rows_out=500, counts={"pairs scored": 3000, "users": 50}, seconds=2.0, status="done")
READ = Stage("read", rows_in=7, seconds=0.5, status="done")


def samples(folder: Path, job: str = "score") -> dict[tuple[str, ...], float]:
    """Values by name of the metric and its labels, these in the order of their names."""
    text = (folder / f"llmrec_{job}.prom").read_text()
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(s.name, *s.labels.values()): s.value for s in found}


def write(folder: Path, exit_code: int = 0, job: str = "score") -> dict[tuple[str, ...], float]:
    write_metrics(folder, job, exit_code=exit_code, seconds=9.5, stages=[READ, SCORES], info=INFO)
    return samples(folder, job)


def test_a_run_and_its_stages_are_in_the_file_of_the_job(tmp_path: Path) -> None:
    found = write(tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["llmrec_score.prom"]
    assert found["llmrec_last_run_exit_code", "score"] == 0
    assert found["llmrec_last_run_duration_seconds", "score"] == 9.5
    assert found["llmrec_stage_duration_seconds", "score", "scores"] == 2.0
    assert found["llmrec_stage_pairs_per_second", "score", "scores"] == 1500
    assert found["llmrec_stage_rows_in", "score", "read"] == 7
    assert found["llmrec_stage_rows_out", "score", "scores"] == 500
    assert found["llmrec_stage_counts", "users", "score", "scores"] == 50
    assert ("llmrec_stage_pairs_per_second", "score", "read") not in found
    assert found[("llmrec_run_info", "score", *INFO.values())] == 1


def test_names_and_units_are_those_of_prometheus(tmp_path: Path) -> None:
    for name, *_ in write(tmp_path):
        assert re.fullmatch(r"llmrec(_[a-z]+)+", name)
        assert not name.endswith("_total")  # these are figures of one run, not counters


def test_the_time_of_the_last_success_outlives_failures_and_a_damaged_file(tmp_path: Path) -> None:
    name = ("llmrec_last_success_timestamp_seconds", "score")
    assert name not in write(tmp_path, exit_code=2)
    succeeded = write(tmp_path)[name]
    failed = write(tmp_path, exit_code=3)
    assert failed[name] == succeeded
    assert failed["llmrec_last_run_exit_code", "score"] == 3
    assert failed["llmrec_last_run_timestamp_seconds", "score"] >= succeeded
    write(tmp_path, job="train")
    assert samples(tmp_path)[name] == succeeded
    (tmp_path / "llmrec_score.prom").write_text("}{")
    assert name not in write(tmp_path, exit_code=1)
