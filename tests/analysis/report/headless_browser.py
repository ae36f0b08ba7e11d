"""A page opened in headless Chromium, with a script that uses it and says what it sees."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Nothing but the page is asked for.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--window-size=900,900", "--dump-dom"),
)
_RESULT = "result-of-the-test"


def find_chromium() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


def use_page(page: str, script: str, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Open a page and run a script in it.

    Args:
        page: HTML.
        script: the body of a function that returns what is to be looked at.
        folder: for the page and the browser's profile.

    Returns:
        What the script returned, and the lines of the console.
    """
    chromium = find_chromium()
    assert chromium is not None
    driver = (
        f"<script>window.addEventListener('load', () => {{"
        f"const result = (() => {{{script}}})();"
        f"const made = document.createElement('pre'); made.id = '{_RESULT}';"
        "made.textContent = JSON.stringify(result); document.body.append(made);});</script>"
    )
    path = folder / "driven.html"
    path.write_text(page.replace("</body>", f"{driver}</body>"), encoding="utf-8")
    command = [chromium, *FLAGS, f"--user-data-dir={folder / 'profile'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found = re.search(f'<pre id="{_RESULT}">(.*?)</pre>', done.stdout, re.S)
    return (json.loads(unescape(found[1])) if found else {}), console
