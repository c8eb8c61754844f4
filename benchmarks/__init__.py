"""Benchmarks: each stage and the whole pipeline, side by side with a baseline."""
