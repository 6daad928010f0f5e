"""Take a picture of each of the viewer's pages over a folder of runs, the left half in light and the right one in dark.

    python tests/take_screenshots.py runs --run arithmetic --out tests/screenshots

It takes Chromium (`chromium`, or the one that CHROMIUM names), playwright and Pillow.
"""

import argparse
import io
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from viewing import serving

WIDTH = 1100
COLORS = 128  # of a picture's palette, which keeps it under 100 KB
LOADED = "() => [...document.images].every((image) => image.complete)"
END = "Math.ceil(document.querySelector('footer').getBoundingClientRect().bottom)"
TALL = {"run": 1350, "trace": 1250, "traces": 900}


def find_pages(page: Page, address: str, name: str, other: str) -> Mapping[str, str]:
    """The address of each page, of a trace and of a problem that have something to show."""

    def ask(path: str) -> Any:
        return page.request.get(f"{address}/api/runs/{name}{path}").json()

    while ask("")["indexing"]:
        page.wait_for_timeout(500)
    wanted = ("origin=revised&trained=chosen&sort=newest", "trained=example&sort=newest", "sort=newest", "")
    traces = next(rows for one in wanted if (rows := ask(f"/traces?{one}&limit=1")["traces"]))
    held_out = ask("/traces?stage=evaluate&outcome=correct&sort=newest&limit=1")["traces"] or traces
    last = max(row["round"] for row in held_out)
    base, wrong = f"/runs/{name}", "outcome=correct&reasoning=incorrect"
    return {
        "runs": "/",
        "run": base,
        "traces": f"{base}/traces?{wrong}" if ask(f"/traces?{wrong}")["count"] else f"{base}/traces",
        "trace": f"{base}/traces/{traces[0]['id']}",
        "problem": f"{base}/problems/{held_out[0]['problem']}",
        "compare": f"/compare?a={other}&b={name}&first={last if other != name else 0}&second={last}",
        "constitution": f"{base}/constitution",
        "api": "/api",
    }


def take(browser: Browser, address: str, path: str, scheme: Any, height: int) -> Image.Image:
    """A page's upper part as it is shown in one colour scheme."""
    context = browser.new_context(viewport={"width": WIDTH, "height": height}, color_scheme=scheme)
    try:
        page = context.new_page()
        page.goto(address + path)
        page.wait_for_function(LOADED)
        shown = min(height, page.evaluate(END))
        picture = page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": shown})
        return Image.open(io.BytesIO(picture)).convert("RGB")
    finally:
        context.close()


def save(light: Image.Image, dark: Image.Image, path: Path) -> int:
    """Write both halves as one small picture; gives its size in bytes."""
    height = min(light.height, dark.height)
    joined = light.crop((0, 0, WIDTH, height))
    joined.paste(dark.crop((WIDTH // 2, 0, WIDTH, height)), (WIDTH // 2, 0))
    joined.quantize(COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    return path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the folder of runs")
    parser.add_argument("--run", help="the run whose pages are taken; the first one without it")
    parser.add_argument("--against", help="the run that it is compared with; itself without it")
    parser.add_argument("--out", type=Path, default=Path("screenshots"), help="the folder of the pictures")
    asked = parser.parse_args()
    name = asked.run or sorted(path.parent.name for path in asked.runs.glob("*/recipe.yaml"))[0]
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    asked.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as cache,
        serving(asked.runs, Path(cache)) as address,
        sync_playwright() as started,
    ):
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        for title, path in find_pages(page, address, name, asked.against or name).items():
            height = TALL.get(title, 1000)
            light, dark = (take(browser, address, path, scheme, height) for scheme in ("light", "dark"))
            print(f"{save(light, dark, asked.out / f'{title}.png'):>7,} bytes  {title}.png  {path}")
        browser.close()


if __name__ == "__main__":
    main()
