"""Spark: session, tables, transforms and the functions that run in Python workers."""
