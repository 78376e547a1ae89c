"""The report in a real browser: nothing wider than the window, pictures there, tables that sort, few pages of paper."""

import json
import re
import shutil
import subprocess
import zlib
from html import escape

import numpy as np
import pytest
from PIL import Image

from normgrowth.report.pictures import as_uri
from tests.report.test_page import page, results
from tests.support import planted
from tests.support.planted import Run

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

PROBE = """
<script>
addEventListener("load", () => {
  const stand = [...document.querySelectorAll("table.sorted")].map(table => {
    const column = [...table.tHead.rows[0].cells].findIndex(head => head.ariaSort === "ascending");
    return [...table.tBodies[0].rows].map(row => row.cells[column].dataset.value);
  });
  // Rows of a grouped table stay in their group.
  const tables = [...document.querySelectorAll("table.sortable")].filter(table => table.tBodies.length === 1);
  const sorted = tables.map(table => {
    const column = table.tHead.rows[0].cells.length - 1;
    const button = table.tHead.rows[0].cells[column].querySelector("button");
    const read = () => [...table.querySelectorAll("tbody tr:not(.group)")].map(row => row.cells[column].dataset.value);
    button.click(); const once = read(); button.click(); const twice = read();
    return {once, twice, announced: table.tHead.rows[0].cells[column].getAttribute("aria-sort")};
  });
  const pictures = [...document.images].map(image => image.naturalWidth);
  const found = {
    window: innerWidth, width: document.documentElement.scrollWidth, pictures, sorted, stand,
    claims: document.querySelectorAll("article.claim").length,
    smallest: Math.min(...[...document.querySelectorAll("p, td")].map(e => parseFloat(getComputedStyle(e).fontSize)))
  };
  document.body.innerHTML = "";
  document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
});
</script>
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    small = {"edits": 20, "checkpoints": (10, 20), "n_layers": 3, "cases": 20}
    runs = [Run(editor=name, orders=orders, **small) for name, orders in (("ft", 1), ("r_rome", 3), ("memit", 1))]
    runs.append(Run(editor="norm_restored-r_rome", growth=0.0, **small))
    page(results(folder, *runs))
    return folder / "report.html"


def browse(*options: str, url: str) -> str:
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", *options, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_it_fits_the_window_and_works(report, tmp_path, width):
    probed = tmp_path / "probed.html"
    probed.write_text(report.read_text(encoding="utf-8").replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    dumped = browse(f"--window-size={width},900", "--virtual-time-budget=20000", "--dump-dom", url=probed.as_uri())
    found = json.loads(re.search(r"FOUND(.*)END", dumped)[1].replace("&amp;", "&"))
    assert found["width"] <= found["window"]
    assert found["pictures"] and all(found["pictures"])
    assert found["claims"] >= 10 and found["smallest"] >= 11
    (stand,) = ([float(value) for value in values] for values in found["stand"])
    assert len(stand) == 4 and stand == sorted(stand)  # before anyone chooses a column
    for table in found["sorted"]:
        once, twice = ([float(v) for v in table[name] if v is not None] for name in ("once", "twice"))
        assert once == sorted(once) or once == sorted(once, reverse=True)
        assert twice == once[::-1] or len(set(once)) < len(once)
        assert table["announced"] in ("ascending", "descending")


def test_paper_has_the_page_as_it_is_folded(report, tmp_path):
    """Unfolded, the default study would take a hundred pages; what is left out is in claims.md, which the page says."""
    out = tmp_path / "report.pdf"
    browse(f"--print-to-pdf={out}", "--virtual-time-budget=20000", url=report.as_uri())
    data = out.read_bytes()
    assert data.startswith(b"%PDF")
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL)
    drawn = sum(len(zlib.decompressobj().decompress(s)) for s in streams if s[:1] == b"\x78")  # whose ends may be cut
    assert 5 <= len(re.findall(rb"/Type\s*/Page\b", data)) < 25 and drawn > 100_000
    assert "rows that are not shown here are in claims.md" in report.read_text(encoding="utf-8")


def test_planted_runs_differ_in_their_orders(report):
    assert "20 edits in sequence, 1 to 3 edit orders" in report.read_text(encoding="utf-8")
    assert escape(planted.STUDY) in report.read_text(encoding="utf-8")


def test_a_picture_in_the_page_looks_like_its_file(report, tmp_path):
    """Smaller than the file, and the same to the eye."""
    shots = []
    for drawn in sorted((report.parent / "figures").glob("*.svg")):
        small = as_uri(drawn.read_bytes())
        assert len(small) < 0.8 * drawn.stat().st_size
        for number, source in enumerate((drawn.as_uri(), small)):
            shown = tmp_path / f"{drawn.stem}-{number}.html"
            shown.write_text(f'<body style="margin:0"><img src="{source}" style="width:1200px">', encoding="utf-8")
            shot = tmp_path / f"{drawn.stem}-{number}.png"
            browse("--window-size=1200,1200", f"--screenshot={shot}", url=shown.as_uri())
            shots.append(np.asarray(Image.open(shot).convert("RGB"), dtype=int))
        assert shots[-1].std() > 5  # something is drawn
        # Places are rounded to 0.01 points, so that some edges are blended otherwise.
        assert (abs(shots[-1] - shots[-2]).max(axis=2) > 40).mean() < 2e-4
    assert shots
