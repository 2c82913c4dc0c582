"""What the numbers in docs/benchmarks.md come from; each module is a command."""
