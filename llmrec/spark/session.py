"""The Spark session of a job."""

import os
import sys

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from llmrec.errors import ConfigError

DELTA_PACKAGE = "io.delta:delta-spark_4.2_2.13:4.4.0"
_DELTA_FLAGS = (
    f"--packages {DELTA_PACKAGE}"
    " --conf spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension"
    " --conf spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog"
)


def start_session(name: str, settings: dict[str, str]) -> SparkSession:
    """Start (or join) the session; flags of spark-submit and spark-defaults.conf win over ``settings``.

    Raises ConfigError, with the flags to add, where Delta Lake is not on the class path.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else Spark takes the system's python3
    SparkContext._ensure_initialized()  # only with its JVM does SparkConf know the flags of spark-submit
    given = SparkConf()
    builder = SparkSession.builder.appName(name).config("spark.sql.session.timeZone", "UTC")
    for key, value in settings.items():
        if not given.contains(key):
            builder = builder.config(key, value)
    spark = builder.getOrCreate()
    _require_delta(spark)
    return spark


def _require_delta(spark: SparkSession) -> None:
    extensions = spark.conf.get("spark.sql.extensions", "") or ""
    try:
        spark._jvm.java.lang.Class.forName("io.delta.tables.DeltaTable")  # type: ignore[union-attr]
        present = "DeltaSparkSessionExtension" in extensions
    except Exception:  # py4j wraps ClassNotFoundException
        present = False
    if not present:
        raise ConfigError(f"Spark session: Delta Lake is not set up; add to spark-submit: {_DELTA_FLAGS}")


def runs_in_one_process(spark: SparkSession) -> bool:
    """Tell whether workers share the driver's file system (master local[...])."""
    return (spark.sparkContext.master or "").split("[")[0] == "local"
