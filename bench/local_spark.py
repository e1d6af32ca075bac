"""Settings of a small Spark session in this process."""

SPARK = {
    "spark.master": "local[2]", "spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "2", "spark.ui.showConsoleProgress": "false",
}  # fmt: skip
