"""The answer as pictures: SVG, written by hand, since bars with intervals are all there is to draw."""

from collections.abc import Callable, Sequence
from html import escape
from math import isfinite

from orthanc_al.simulate.answer import Answer, Line

_WIDTH, _ROW, _LEFT, _TOP = 760, 26, 170, 44
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#151b20}.dim{fill:#4c5a66}"
    ".saved{fill:#15624a}.lost{fill:#a8200d}.axis{stroke:#151b20}.reach{stroke:#151b20;stroke-width:1.5}"
)


def by_group_and_tier(answer: Answer) -> str:
    """Return minutes saved for each group and each tier."""
    return _bars(f"Minutes saved by the rule {answer.rule.value}", [*answer.groups, *answer.tiers])


def by_hour(answer: Answer, group: str) -> str:
    """Return minutes saved for a group by the hour of arrival."""
    return _bars(f"Minutes saved by hour of arrival: {group}", answer.hours[group])


def _bars(title: str, lines: Sequence[Line]) -> str:
    shown = [line for line in lines if isfinite(line.saved.value)]
    edges = [0.0] + [
        edge
        for line in shown
        for edge in (line.saved.value, line.saved.low, line.saved.high)
        if isfinite(edge)
    ]
    low, high = min(edges), max(edges)
    scale = (_WIDTH - _LEFT - 90) / ((high - low) or 1.0)

    def x(minutes: float) -> float:
        return round(_LEFT + (min(max(minutes, low), high) - low) * scale, 1)

    height = _TOP + _ROW * len(shown) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text x="10" y="24" font-weight="600">{escape(title)}</text>',
    ]
    for number, line in enumerate(shown):
        parts += _bar(line, x, _TOP + _ROW * number)
    foot = height - 10
    parts.append(f'<line class="axis" x1="{x(0)}" x2="{x(0)}" y1="{_TOP - 6}" y2="{foot - 16}"/>')
    parts.append(
        f'<text class="dim" x="10" y="{foot}">minutes; right of the line: read earlier, left: later; '
        "the thin line is the 95 % interval</text></svg>"
    )
    return "\n".join(parts) + "\n"


def _bar(line: Line, x: Callable[[float], float], y: int) -> list[str]:
    start, end = sorted((x(0.0), x(line.saved.value)))
    kind = "saved" if line.saved.value >= 0.0 else "lost"
    middle, low, high = y + _ROW // 2 - 3, x(line.saved.low), x(line.saved.high)
    width, tall = round(end - start, 1), _ROW - 12
    return [
        f'<text x="10" y="{y + 15}">{escape(line.who)}</text>',
        f'<rect class="{kind}" x="{start}" y="{y + 3}" width="{width}" height="{tall}"/>',
        f'<line class="reach" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>',
        f'<text class="dim" x="{_WIDTH - 80}" y="{y + 15}">{line.saved.value:+.1f}</text>',
    ]
