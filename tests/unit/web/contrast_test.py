"""The colours of the page, computed from the style sheet: WCAG 2.2 AA in both themes."""

import re
from pathlib import Path

import pytest

import orthanc_al.web

STYLE = (Path(orthanc_al.web.__file__).parent / "static" / "style.css").read_text()
TEXTS = ["text", "dim", "link", "high", "review", "low", "none"]
GROUNDS = ["ground", "panel", "raised"]
BANNERS = [("alarm", "alarm-ground"), ("pause", "pause-ground"), ("alarm", "panel"), ("alarm", "raised")]
NOT_TEXT = [("focus", "ground"), ("focus", "panel"), ("dim", "panel")]  # outlines and borders of fields


def _themes() -> dict[str, dict[str, str]]:
    dark, light, chosen = (dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block)) for block in _roots())
    assert chosen == light, "the theme that a reader chose is the one that her system would"
    return {"dark": dark, "light": dark | light}


def _roots() -> list[str]:
    return re.findall(r":root\S* \{(.*?)\}", STYLE, flags=re.DOTALL)


def _luminance(colour: str) -> float:
    """Relative luminance of sRGB (WCAG 2.2, definition)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_computed_as_the_guideline_says() -> None:
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)
    assert _contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_all_text_has_a_contrast_of_at_least_4_5(theme: str) -> None:
    tokens = _themes()[theme]
    pairs = [(text, ground) for text in TEXTS for ground in GROUNDS] + BANNERS
    weak = {pair: _contrast(tokens[pair[0]], tokens[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_focus_and_fields_have_a_contrast_of_at_least_3(theme: str) -> None:
    tokens = _themes()[theme]
    assert min(_contrast(tokens[one], tokens[other]) for one, other in NOT_TEXT) >= 3


def test_rules_take_their_colours_from_the_checked_tokens() -> None:
    rules = STYLE
    for block in _roots():
        rules = rules.replace(block, "")
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|hsla?\(", rules) == []
