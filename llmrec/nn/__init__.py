"""The language model: blocks, scorers, training, artifacts. No Spark."""
