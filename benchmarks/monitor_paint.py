"""How long the monitor takes to paint a long run in a real Chromium:
`python benchmarks/monitor_paint.py`. It needs Playwright and a Chromium, and no ComfyUI.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "scripts"))

from environment import find_chromium  # noqa: E402
from page import chromium  # noqa: E402
from playwright.sync_api import Page, Route  # noqa: E402

ORIGIN = "http://monitor.test"
REPEATS = 300
PAINT = """async ([steps, repeats]) => {
    const { draw } = await import('/monitor/drawing.js')
    const canvas = document.createElement('canvas')
    const size = { width: 330, height: 140 }
    const ratio = 2
    Object.assign(canvas, { width: size.width * ratio, height: size.height * ratio })
    document.body.append(canvas)
    const context = canvas.getContext('2d')
    context.setTransform(ratio, 0, 0, ratio, 0, 0)
    const series = (count, noise) => Array.from({ length: count }, (_, place) =>
        [place + 1, 1 - Math.exp(-5 * place / count) + noise * Math.random()])
    const run = { step: steps, steps, phase: 'learning', best: steps, losses: series(steps, 3),
        validations: series(Math.ceil(steps / 80), 0.02) }
    const past = Array.from({ length: 5 }, () => ({ validations: series(100, 0.1) }))
    const colors = ['text', 'quiet', 'paper', 'grid', 'loss', 'faint', 'accent']
    const gray = Object.fromEntries(colors.map((name) => [name, '#888']))
    const theme = { ...gray, font: '10px sans-serif' }
    const times = []
    for (let time = 0; time < repeats; time++) {
        const start = performance.now()
        draw(context, size, run, theme, { past, at: 150 })
        context.getImageData(0, 0, 1, 1) // Waits until it is painted.
        times.push(performance.now() - start)
    }
    return times
}"""


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[500, 10_000, 100_000])
    options = parser.parse_args()
    program = find_chromium()
    if program is None:
        raise SystemExit("No browser was found. Install Chromium, or set CHROMIUM_PATH to it.")
    with chromium(program) as browser:
        page = browser.new_page()
        page.route(f"{ORIGIN}/**", serve)
        page.goto(ORIGIN)
        for steps in options.steps:
            print(line(steps, measured(page, steps)), flush=True)


def serve(route: Route) -> None:
    """An empty page, and the page's modules."""
    name = route.request.url.removeprefix(ORIGIN).strip("/")
    if name.endswith(".js"):
        body = (REPO / "web" / name).read_text(encoding="utf-8")
        route.fulfill(body=body, content_type="text/javascript")
    else:
        route.fulfill(body="<!doctype html><body></body>", content_type="text/html")


def measured(page: Page, steps: int) -> list[float]:
    """Milliseconds of each painting."""
    times: Any = page.evaluate(PAINT, [steps, REPEATS])
    return times


def line(steps: int, times: list[float]) -> str:
    """The fastest, which a busy machine disturbs least, and the median."""
    return f"{steps:>7} steps: {min(times):.2f} ms, median {statistics.median(times):.2f} ms"


if __name__ == "__main__":
    main()
