"""A nightly recommender on Spark: a fine-tuned BERT scores every user-candidate pair."""

__version__ = "0.1.0"
