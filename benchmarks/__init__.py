"""Benchmarks against other implementations. See README.md for the commands."""
