"""The ratios of a run as an SVG chart, for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from benchmarks.measure import Result

_WIDTH, _LABELS, _RIGHT = 960, 490, 60
_ROW, _BAR, _TOP, _BOTTOM = 24, 14, 56, 30
_MARKS = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600 }
.mark { fill: #57606a; font-size: 11px } .grid { stroke: #d0d7de } .same { stroke: #57606a }
.reached { fill: #2da44e } .missed { fill: #d4a72c } .target { stroke: #24292f; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .mark { fill: #8b949e } .grid { stroke: #30363d }
  .same { stroke: #8b949e } .target { stroke: #e6edf3 }
}
"""


def svg_chart(results: Sequence[Result]) -> str:
    """Draw one bar for each result, from 1 (the baseline) to its ratio, on a logarithmic scale."""
    height = _TOP + _ROW * len(results) + _BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>Speed against the baseline of the same run</title><style>{_STYLE}</style>",
        '<text class="title" x="8" y="20">How many times as fast as its baseline</text>',
        '<text class="mark" x="8" y="38">The stroke is the target, yellow misses it.</text>',
    ]
    lines += [_grid(mark, height) for mark in _MARKS]
    lines += [_bar(result, _TOP + _ROW * at) for at, result in enumerate(results)]
    return "\n".join([*lines, "</svg>", ""])


def _x(ratio: float) -> float:
    low, high = math.log2(_MARKS[0]), math.log2(_MARKS[-1])
    place = (math.log2(max(ratio, _MARKS[0])) - low) / (high - low)
    return round(_LABELS + min(place, 1.0) * (_WIDTH - _LABELS - _RIGHT), 1)


def _grid(mark: float, height: int) -> str:
    x, bottom = _x(mark), height - _BOTTOM
    return (
        f'<line class="{"same" if mark == 1 else "grid"}" x1="{x}" x2="{x}" y1="{_TOP}" '
        f'y2="{bottom}"/><text class="mark" x="{x}" y="{bottom + 16}" '
        f'text-anchor="middle">{mark:g}</text>'
    )


def _bar(result: Result, y: int) -> str:
    begin, end = sorted((_x(1), _x(result.ratio)))
    outcome = "reached" if result.ratio >= result.target else "missed"
    middle = y + _ROW // 2
    return (
        f'<text x="{_LABELS - 12}" y="{middle + 4}" text-anchor="end">'
        f"{escape(result.name)} / {escape(result.baseline)}</text>"
        f'<rect class="{outcome}" x="{begin}" y="{middle - _BAR // 2}" '
        f'width="{max(end - begin, 1):.1f}" height="{_BAR}"/>'
        f"{_stroke(result.target, y)}"
        f'<text class="mark" x="{max(end, _x(result.target)) + 6}" y="{middle + 4}">'
        f"{result.ratio:.2g}</text>"
    )


def _stroke(target: float, y: int) -> str:
    if not target:  # this comparison has no target
        return ""
    x = _x(target)
    return f'<line class="target" x1="{x}" x2="{x}" y1="{y + 3}" y2="{y + _ROW - 3}"/>'
