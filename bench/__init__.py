"""Speed against others, each figure by one command: python -m bench.pairs --help."""
