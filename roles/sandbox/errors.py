"""What can go wrong on our side of the jail. None of these says anything about a candidate program."""

from __future__ import annotations


class SandboxError(RuntimeError):
    """The sandbox cannot do its work."""


class SandboxUnavailable(SandboxError):
    """nsjail or an interpreter that the jail can use is missing, or the isolation is weaker than demanded."""


class SandboxFault(SandboxError):
    """A jail broke while it held a program. The program was not judged: retry it elsewhere, never score it."""
