"""Numbers and settings as readers write them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

MARKS = {
    "goal": "meets the goal",
    "keeps_99": "keeps 99 %",
    "keeps_95": "keeps 95 %",
    "knee": "knee",
}
_KEPT = {"keeps_95": 0.95, "keeps_99": 0.99}


def number(value: Any) -> str:
    """A return or a count: 4 significant digits or all before the point; "–" where unknown.

    Below 0.01 it has 3 significant digits, from 1e15 on 4 and an exponent.
    """
    x = _float(value)
    if not math.isfinite(x):
        return "–"
    if abs(x) >= 1e15:
        text = f"{x:.4g}"
    elif x == int(x):
        text = f"{int(x):,}"
    elif abs(x) < 1e-2:
        text = f"{x:.3g}"
    else:
        text = f"{x:,.{1 if abs(x) >= 100 else 2 if abs(x) >= 1 else 3}f}"
    return text.replace("-", "−")


def percent(share: Any) -> str:
    """A sparsity with as many digits as tell it from its neighbours near 100 %."""
    x = _float(share)
    if not math.isfinite(x):
        return "–"
    # Two digits of what is left, where less than a hundredth of a per cent is.
    digits = 2 if x >= 1.0 or x < 0.9999 else math.ceil(-math.log10(1.0 - x) - 1e-9) - 1
    return f"{100 * x:.{digits}f} %"


def share(value: Any) -> str:
    """Retained or a probability, two digits."""
    x = _float(value)
    # Plus 0.0 turns −0.0 into 0.0.
    return f"{round(x, 2) + 0.0:.2f}".replace("-", "−") if math.isfinite(x) else "–"


def size(value: Any) -> str:
    """Bytes as B, kB or MB."""
    x = _float(value)
    if not math.isfinite(x):
        return "–"
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if x >= factor:
            return f"{x / factor:.1f} {unit}"
    return f"{x:.0f} B"


def duration(seconds: Any) -> str:
    """Seconds as s, min or h."""
    x = _float(seconds)
    if not math.isfinite(x):
        return "–"
    if x < 120:
        return f"{x:.0f} s"
    return f"{x / 60:.1f} min" if x < 7200 else f"{x / 3600:.1f} h"


def span(low: Any, high: Any, style: Any = number) -> str:
    """An interval as "low to high"; "" where there is none."""
    if not (math.isfinite(_float(low)) and math.isfinite(_float(high))):
        return ""
    return f"{style(low)} to {style(high)}"


def marks(row: Mapping[Any, Any]) -> str:
    """What a front point is picked as: "meets the goal", "keeps 95 % and 99 %", "knee"; "" for none.

    Selection episodes pick. Where fresh ones retain less, a share isn't said to be kept: "keeps 95 %,
    chosen for 99 %".
    """
    shares = [least for name, least in _KEPT.items() if row.get(name)]
    less = _float(row.get("retained"))
    told = {
        "keeps": [least for least in shares if not less < least],
        "chosen for": [least for least in shares if less < least],
    }
    kept = [f"{verb} {_shares(some)}" for verb, some in told.items() if some]
    goal, knee = ([MARKS[name]] if row.get(name) else [] for name in ("goal", "knee"))
    return ", ".join([*goal, *kept, *knee])


def _shares(some: Sequence[float]) -> str:
    return " and ".join(f"{100 * least:.0f} %" for least in some)


def recipe(values: Mapping[str, Any], joint: str = "\n") -> str:
    """Hyperparameters as "name = value" lines."""
    return joint.join(f"{name} = {setting(value)}" for name, value in sorted(values.items()))


def schedule_text(values: Mapping[str, Any]) -> str:
    """A pruning schedule in words, such as "cubic to 99.65 %, 0.1 to 0.55 of the horizon".

    Args:
        values: Hyperparameters by path, or by their last name; what isn't there isn't said.
    """
    known = {name.rpartition(".")[2]: v for name, v in values.items() if v is not None}
    parts = [str(known["schedule"])] if "schedule" in known else []
    if "final_sparsity" in known:
        parts.append(f"to {percent(known['final_sparsity'])}")
    text = " ".join(parts)
    if "begin" in known and "end" in known:
        text += f", {setting(known['begin'])} to {setting(known['end'])} of the horizon"
    return text


def setting(value: Any) -> str:
    """A hyperparameter's value, four digits where it is a real number."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def signed(value: Any) -> str:
    """A change: `number` with its sign."""
    text = number(value)
    return f"+{text}" if _float(value) > 0 else text


def _float(value: Any) -> float:
    if value is None or isinstance(value, str):
        return math.nan
    return float(value)
