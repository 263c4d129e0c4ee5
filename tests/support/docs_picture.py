"""The pictures of the documents: tests make them, and ``DOCS=1`` puts them into docs/."""

import os
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from tests.conftest import ROOT

_LARGEST = 250_000  # bytes


def keep_picture(page: Page, name: str, width: int = 0) -> None:
    """Write what a page shows, or a copy of another width, as a PNG of 128 colours for a README."""
    folder = ROOT / "docs" if os.environ.get("DOCS") == "1" else Path(tempfile.mkdtemp())
    shown = Image.open(BytesIO(page.screenshot())).convert("RGB")
    if width:
        shown = shown.resize((width, round(shown.height * width / shown.width)), Image.Resampling.LANCZOS)
    shown.quantize(128, dither=Image.Dither.NONE).save(folder / f"{name}.png", optimize=True)
    assert (folder / f"{name}.png").stat().st_size < _LARGEST
