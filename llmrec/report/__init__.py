"""The report as a page and on the console: plain facts in, text out; knows nothing of Spark."""
