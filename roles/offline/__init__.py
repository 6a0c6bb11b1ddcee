"""Learners without the loop: each trains alone on what a run left in its ledger, or on files."""

from __future__ import annotations

import dataclasses
import math
from typing import Any


def record(value: Any) -> Any:
    """What a learner reports, as JSON: of dataclasses the fields that are figures or dataclasses, of them no NaN."""
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: record(each) for name, each in fields.items() if not isinstance(each, tuple)}
    if isinstance(value, list):
        return [record(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
