"""Formats numbers and settings for readers."""

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
    """Formats a return or a count; "–" if unknown.

    Integers below 1e15 keep all digits. Other numbers have 1 to 3 decimals (about 4 significant digits),
    below 0.01 three significant digits. From 1e15 on, there are four digits and an exponent.
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
    """Formats a sparsity in per cent, with more digits near 100 %, where values lie close together."""
    x = _float(share)
    if not math.isfinite(x):
        return "–"
    # Two digits of the density, where that is less than 0.01 %.
    digits = 2 if x >= 1.0 or x < 0.9999 else math.ceil(-math.log10(1.0 - x) - 1e-9) - 1
    return f"{100 * x:.{digits}f} %"


def share(value: Any) -> str:
    """Formats a retained share or a probability with two decimals; "–" if unknown."""
    x = _float(value)
    # Adding 0.0 turns −0.0 into 0.0.
    return f"{round(x, 2) + 0.0:.2f}".replace("-", "−") if math.isfinite(x) else "–"


def size(value: Any) -> str:
    """Formats a number of bytes in B, kB or MB; "–" if unknown."""
    x = _float(value)
    if not math.isfinite(x):
        return "–"
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if x >= factor:
            return f"{x / factor:.1f} {unit}"
    return f"{x:.0f} B"


def duration(seconds: Any) -> str:
    """Formats a number of seconds in s, min or h; "–" if unknown."""
    x = _float(seconds)
    if not math.isfinite(x):
        return "–"
    if x < 120:
        return f"{x:.0f} s"
    return f"{x / 60:.1f} min" if x < 7200 else f"{x / 3600:.1f} h"


def span(low: Any, high: Any, style: Any = number) -> str:
    """Formats an interval as "low to high"; empty if there is none."""
    if not (math.isfinite(_float(low)) and math.isfinite(_float(high))):
        return ""
    return f"{style(low)} to {style(high)}"


def marks(row: Mapping[Any, Any]) -> str:
    """Returns the picks of a front point, such as "meets the goal, keeps 95 % and 99 %, knee".

    Empty if there is none. Points are picked by selection episodes. If report episodes retain less than
    a share, the point is said to be chosen for it: "keeps 95 %, chosen for 99 %".
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
    """Formats hyperparameters as "name = value" lines, sorted by name."""
    return joint.join(f"{name} = {setting(value)}" for name, value in sorted(values.items()))


def schedule_text(values: Mapping[str, Any]) -> str:
    """Describes a pruning schedule, as in "cubic to 99.65 %, 0.1 to 0.55 of the horizon".

    Args:
        values: Hyperparameters by path or by their last name; missing ones are left out.
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
    """Formats a hyperparameter's value; floats have four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def signed(value: Any) -> str:
    """Formats a change like `number`, with its sign."""
    text = number(value)
    return f"+{text}" if _float(value) > 0 else text


def _float(value: Any) -> float:
    if value is None or isinstance(value, str):
        return math.nan
    return float(value)
