"""Plain Python and NumPy: texts, features, ranking, metrics, reasons. No Spark, no torch."""
