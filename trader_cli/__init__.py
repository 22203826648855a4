"""`trader`: a command-line toolkit for live crypto trading. The rooms are described in docs/architecture.md."""

__version__ = "0.1.0"
