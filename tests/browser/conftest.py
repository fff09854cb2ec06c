"""A real server, one for all processes that test at once, and a real browser for each of these."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.browser.labels import NOTE_TEXT

ROOT = pathlib.Path(__file__).parents[2]
SCREENSHOTS = os.environ.get("SCREENSHOTS")  # the folder for pictures
PATIENCE = 180_000  # milliseconds that a slow machine with much else to do may take to show what is expected
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
OBSERVE = """
window.askedAt = window.heardAt = window.changedAt = 0;
window.alerts = [];
window.WebSocket = class extends WebSocket {
  constructor(...where) {
    super(...where);
    this.addEventListener('message', () => { window.heardAt = performance.now(); });
  }
  send(message) { window.askedAt = performance.now(); super.send(message); }
};
new MutationObserver(changes => {
  const inMain = change => change.target.parentElement?.closest('[data-testid=stMain]');
  if (changes.some(inMain)) window.changedAt = performance.now();
  const said = document.querySelector('[data-testid=stAlert]')?.textContent;
  if (said && said !== window.alerts.at(-1)) window.alerts.push(said);
}).observe(document, { subtree: true, childList: true, characterData: true });
"""
AT_REST = """async () => {
  const giveUp = performance.now() + 5000;
  let still = 0;
  while (still < 3 && performance.now() < giveUp) {
    await new Promise(done => requestAnimationFrame(  // until what was clicked is taken up; after a frame it is idle
      () => requestIdleCallback(done, { timeout: 20000 })));
    const main = document.querySelector('[data-testid=stMain]');
    const running = document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'running';
    const busy = !main || running || window.askedAt > window.heardAt ||
      performance.now() - window.changedAt < 150 || main.querySelector('[data-testid=stSkeleton], [data-stale=true]') ||
      main.textContent.length < 100 || /running \\d/.test(main.innerText);
    still = busy ? 0 : still + 1;
    await new Promise(done => setTimeout(done, 100));
  }
  return still >= 3;
}"""
STATE = """() => JSON.stringify({
  ...document.querySelector('[data-testid=stApp]')?.dataset, hidden: document.hidden,
  asked: window.askedAt, heard: window.heardAt, changed: window.changedAt, now: performance.now(),
})"""
FORMS = {
    "desktop": {"viewport": {"width": 1440, "height": 900}},
    "dark": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
    "projector": {"viewport": {"width": 1280, "height": 720}},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "is_mobile": True,
        "has_touch": True,
        "device_scale_factor": 2,
    },
}


def find_chromium() -> str:
    """Return the browser's path: $CHROMIUM, or one of the usual names."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    assert found, "no Chromium: install it (apt-get install chromium) or set CHROMIUM to its path"
    return found


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def serve(command: list[str], log: pathlib.Path, **options: object) -> Iterator[str]:
    """Run a server command (its port is added) until the caller is done; yield its address."""
    port = free_port()
    with log.open("w") as out:
        server = subprocess.Popen([*command, f"--server.port={port}"], stdout=out, stderr=subprocess.STDOUT, **options)
        try:
            wait_for(f"http://127.0.0.1:{port}", server, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(20)


def wait_for(address: str, server: subprocess.Popen[bytes], log: pathlib.Path) -> None:
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no answer: {log.read_text()}")


def serve_source(log: pathlib.Path) -> Iterator[str]:
    """Run the app of this source tree."""
    entry = str(ROOT / "explorer" / "app.py")
    yield from serve([sys.executable, "-m", "streamlit", "run", entry, "--server.headless=true"], log, cwd=ROOT)


SHARED: list[Iterator[str]] = []
LONGEST = ("test_walk.py", "test_server.py", "test_wheel.py", "test_compensation.py")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Start one server for all processes of pytest-xdist, and tell each its address."""
    if not SHARED:
        SHARED.append(serve_source(pathlib.Path(tempfile.mkdtemp()) / "server.log"))
        node.config.address = next(SHARED[0])
    node.workerinput["address"] = node.config.address


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest, or all but one process would wait for them at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_unconfigure() -> None:
    for server in SHARED:
        server.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of the shared server, or without pytest-xdist of one of this process."""
    shared = getattr(request.config, "workerinput", {}).get("address")
    yield from [shared] if shared else serve_source(tmp_path_factory.mktemp("server") / "server.log")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as tool:
        chromium = tool.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def tabs(browser: Browser) -> dict[str, list[Page]]:
    """Keep tabs at rest, by form: one in which the app was once shown loads it in half the time."""
    expect.set_options(timeout=PATIENCE)
    return {form: [] for form in FORMS}


def new_tab(browser: Browser, form: str) -> Page:
    """Return a tab that knows when its page last asked the server something, heard of it, and changed.

    It asks for reduced motion: drawing animations without a graphics card takes half the time of a page.
    """
    context = browser.new_context(**FORMS[form], reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    context.add_init_script(OBSERVE)
    context.add_init_script(NOTE_TEXT)
    return context.new_page()


def put_to_rest(page: Page, tabs: list[Page]) -> None:
    """Forget what a page kept and end its session; a tab whose server is gone is closed."""
    try:
        page.evaluate("localStorage.clear(); sessionStorage.clear()")
        page.goto(urllib.parse.urljoin(page.url, "/_stcore/health"))
        tabs.append(page)
    except PlaywrightError:
        page.context.close()


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """Keep whether the test failed, for what shows its pages then."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


def tell(page: Page) -> None:
    """Print what a page shows, for whoever has only the report of a failed test."""
    print(page.url, page.evaluate(STATE))
    print(page.locator("body").inner_text())


@pytest.fixture
def open_page(
    request: pytest.FixtureRequest, browser: Browser, tabs: dict[str, list[Page]]
) -> Iterator[Callable[..., Page]]:
    """Open an address in a form, and check at the end that nothing was logged as an error."""
    opened: list[tuple[Page, str]] = []
    faults: list[str] = []

    def log(kind: str, text: str) -> None:
        # Streamlit's own probes on a first load, and of a download that the next run has already replaced
        if not any(known in text for known in ("_stcore", "404 (Not Found)", "Download Button source error - 404")):
            faults.append(f"{kind}: {text}")

    def of_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            log("console", message.text)

    def of_page(error: PlaywrightError) -> None:
        log("error", str(error))

    def open_page(address: str, form: str = "desktop") -> Page:
        page = tabs[form].pop() if tabs[form] else new_tab(browser, form)
        opened.append((page, form))
        page.on("console", of_console)
        page.on("pageerror", of_page)
        page.goto(address)
        settle(page)
        return page

    yield open_page
    for page, form in opened:
        if request.node.stash.get(FAILED, False):
            tell(page)
        page.remove_listener("console", of_console)
        page.remove_listener("pageerror", of_page)
        put_to_rest(page, tabs[form])
    assert not faults


def settle(page: Page) -> None:
    """Wait until no script runs or was asked for, no accuracy is awaited and the page has stopped changing.

    However long that takes, as long as there is a server that answers and PATIENCE is not at its end.
    """
    deadline = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(AT_REST):
        assert time.monotonic() < deadline, "the page did not settle"


@contextmanager
def asking(page: Page) -> Iterator[None]:
    """Wait, after what is done within, until the page has asked the server for something, and then for its rest."""
    before = page.evaluate("window.askedAt")
    yield
    page.wait_for_function("before => window.askedAt > before", arg=before)
    settle(page)


def press_at(page: Page, place: Callable[[], tuple[float, float]], done: str, touch: bool = False) -> None:
    """Click a place of a figure until something holds, as a person would: one drawn anew meanwhile loses it."""
    for _ in range(PATIENCE // 10_000):
        (page.touchscreen.tap if touch else page.mouse.click)(*place())
        with suppress(PlaywrightTimeout):
            page.wait_for_function(done, timeout=10_000)
            break
    else:
        raise AssertionError(f"no click led to {done}")
    settle(page)


def download(page: Page, name: str | re.Pattern[str], target: pathlib.Path) -> pathlib.Path:
    """Press a button that downloads a file, save that, and return where; a click that was lost is made again."""
    for _ in range(PATIENCE // 10_000):
        settle(page)
        with suppress(PlaywrightTimeout):
            with page.expect_download(timeout=10_000) as waiting:
                page.get_by_role("button", name=name).click()
            waiting.value.save_as(target / waiting.value.suggested_filename)
            return target / waiting.value.suggested_filename
    raise AssertionError(f"{name} downloads nothing")


def forms_of(page: Page, form: str) -> Iterator[str]:
    """Show a page that was opened as on a desktop in each form with room, one after the other; a phone's as it is."""
    if form != "desktop":
        yield form
        return
    for name in ("dark", "projector", "desktop"):
        page.emulate_media(color_scheme=FORMS[name].get("color_scheme", "light"))
        page.set_viewport_size(FORMS[name]["viewport"])
        settle(page)
        yield name


def open_more(page: Page) -> None:
    """Open what is seldom changed in the playground."""
    page.get_by_test_id("stExpander").get_by_text(re.compile("^More")).click()
    expect(page.get_by_role("button", name="Reset", exact=True)).to_be_visible()


def metrics(page: Page) -> dict[str, str]:
    """Return the numbers on screen by label."""
    return dict(
        page.get_by_test_id("stMetric").evaluate_all(
            """boxes => boxes.map(box => ["stMetricLabel", "stMetricValue"].map(
              part => box.querySelector(`[data-testid=${part}]`).innerText.trim()))"""
        )
    )


def faults_on(page: Page) -> dict[str, object]:
    """Return what must not be there: exceptions, empty or undescribed plots, anything wider than the window."""
    return page.evaluate(
        """() => {
          const plots = [...document.querySelectorAll('.js-plotly-plot')];
          const hosts = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')];
          const canvases = hosts.flatMap(host => [...host.shadowRoot.querySelectorAll('canvas')])
            .filter(canvas => canvas.clientHeight);
          const blank = canvas => !new Uint32Array(
            canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer).some(pixel => pixel);
          return {
            exceptions: [...document.querySelectorAll('[data-testid=stException]')].map(e => e.innerText),
            empty: plots.filter(p => !(p.data || []).length).length + canvases.filter(blank).length,
            undescribed: plots.filter(p => !p.closest('[aria-label], [role=img]')).length +
              canvases.filter(canvas => !canvas.getAttribute('aria-label')).length,
            wide: document.documentElement.scrollWidth > innerWidth + 4 ||
              hosts.some(host => host.shadowRoot.querySelector('.instrument')?.scrollWidth > host.clientWidth + 1),
          };
        }"""
    )


NO_FAULTS = {"exceptions": [], "empty": 0, "undescribed": 0, "wide": False}


STANDARD = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
NOT_OURS = [["header"], [".katex-display"], ["pre"]]  # Streamlit's frame, formulas, code
SLIDER = 'role="slider"'  # handles stand where their values are, however close; keys move them, too


def barriers_on(page: Page) -> list[tuple[str, str]]:
    """Return what axe-core finds serious or critical by WCAG 2.2 AA: its rule and where. Nothing is hovered over."""
    page.mouse.move(0, 0)
    for _ in range(3):  # what is changing its colours, or is not yet laid out, is given time
        found = Axe().run(page, context={"exclude": NOT_OURS}, options={"runOnly": STANDARD}).response["violations"]
        if not found:
            break
        page.wait_for_timeout(1000)
    return [
        (each["id"], node["html"][:200])
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
        if each["id"] != "target-size" or SLIDER not in node["html"]
    ]


def photograph(page: Page, name: str) -> None:
    """Save the whole page as a picture, if pictures are asked for."""
    if not SCREENSHOTS:
        return
    pathlib.Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
    width = page.viewport_size["width"]
    height = page.evaluate(
        "Math.max(innerHeight, ...[...document.querySelectorAll('[data-testid=stMain]')].map(e => e.scrollHeight))"
    )
    former = page.viewport_size
    page.set_viewport_size({"width": width, "height": min(int(height) + 20, 6000)})
    settle(page)
    page.screenshot(path=pathlib.Path(SCREENSHOTS) / f"{name}.png")
    page.set_viewport_size(former)
