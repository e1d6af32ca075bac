"""What those who watch the jobs are told: a log of JSON lines, a file of metrics, a call when one failed."""
