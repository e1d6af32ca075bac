"""The table ``nights``: the figures of each published night."""

from datetime import date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from llmrec import columns as C
from llmrec.domain.bounds import NightFigures
from llmrec.spark.schemas import SCHEMAS


def earlier_nights(nights: DataFrame, scene: str, run_date: date, count: int) -> list[NightFigures]:
    """Return the latest ``count`` nights of ``scene`` before ``run_date``, the oldest first."""
    before = nights.filter((F.col(C.SCENE) == scene) & (F.col(C.RUN_DATE) < F.lit(run_date)))
    latest = before.orderBy(F.desc(C.RUN_DATE)).limit(count).drop(C.SCENE, C.RUN_ID).collect()
    return [NightFigures(**row.asDict()) for row in reversed(latest)]


def night_row(spark: SparkSession, figures: NightFigures, scene: str, run_id: str) -> DataFrame:
    """Return the row of a night."""
    values = {**vars(figures), C.SCENE: scene, C.RUN_ID: run_id}
    schema = SCHEMAS[C.NIGHTS]
    return spark.createDataFrame([tuple(values[name] for name in schema.names)], schema).coalesce(1)
