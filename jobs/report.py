"""Write the HTML report on one run date of a scene and print a summary: reads all tables, writes one page.

    spark-submit jobs/report.py --config conf/demo.yaml [--run-date 2026-01-31]

Without --run-date it reports on the latest date in recommendations.
"""

import sys
from pathlib import Path
from tempfile import NamedTemporaryFile

from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.cli import Job, Run
from llmrec.domain.private_counts import PrivateCounts
from llmrec.errors import OutputError
from llmrec.pipelines.report import ReportTables, choose_run_date, gather
from llmrec.report.console import print_report
from llmrec.report.page import render_page


def main(run: Run) -> None:
    """Gather the figures, write the page, print the summary."""
    with run.stage("gather") as stage:
        tables = ReportTables(
            recommendations=run.read(C.RECOMMENDATIONS).filter(F.col(C.SCENE) == run.config.score.scene),
            events=run.read(C.EVENTS),
            items=run.read(C.ITEMS),
            users=run.read(C.USERS, optional=True),
            runs=run.read(C.RUNS, optional=True),
            metrics=run.read(C.METRICS, optional=True),
        )
        run.run_date = choose_run_date(tables.recommendations, run.run_date, run.table(C.RECOMMENDATIONS))
        epsilon = run.config.report.epsilon
        private = PrivateCounts(epsilon, run.secret("report.epsilon"), run.run_date) if epsilon else None
        facts = gather(tables, run.config, run.run_date, run.now, private)
        run.model_version = facts.published.model_versions[-1]
        stage.rows_in = facts.published.rows
    with run.stage("write"):
        path = Path(run.config.report.path)
        write_page(render_page(facts), path)
    places = {"recommendations": run.table(C.RECOMMENDATIONS), "metrics": run.table(C.METRICS)}
    places |= {"runs": run.table(C.RUNS), "quarantine": run.table(C.QUARANTINE), "report": str(path.resolve())}
    print_report(facts, {name: run.watch.harmless(place) for name, place in places.items()}, sys.stdout)


def write_page(page: str, path: Path) -> None:
    """Put ``page`` at ``path``, whole or not at all; raise OutputError if it cannot be written."""
    unfinished: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=".report-", delete=False) as file:
            unfinished = Path(file.name)
            file.write(page)
        unfinished.chmod(0o644)
        unfinished.replace(path)
    except OSError as error:
        if unfinished:
            unfinished.unlink(missing_ok=True)
        raise OutputError(f"{path}: the report cannot be written ({error.strerror}); expected a file path") from error


JOB = Job("report", main, __doc__, needs_run_date=False)

if __name__ == "__main__":
    sys.exit(JOB.run())
