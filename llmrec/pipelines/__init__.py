"""The steps of each job, composed from Spark and model parts."""
