"""The embedded default: a suite of small Python problems and the base model that is pre-trained on its grammar."""

from roles.problems.pocket.suite import load

__all__ = ["load"]
