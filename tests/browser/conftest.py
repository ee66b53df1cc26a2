"""A headless Chromium, driven by selenium, that reaches nothing but files and this machine."""

import base64
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromedriver")
SWITCHES = (
    "--headless=new",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
TALLEST_PICTURE_PX = 8_000
_LOCAL = re.compile(r"(file|data|blob|about|chrome|chrome-extension|devtools):")
_LOOPBACK = re.compile(r"(https?|wss?)://(127\.0\.0\.1|localhost)[:/]")


class Browser:
    """What tests ask of a browser; ``driver`` is selenium's."""

    def __init__(self, driver: Any, pictures: Path):
        self.driver = driver
        self._pictures = pictures

    def open(self, address: str, width: int = 1400, height: int = 1000, dark: bool = False) -> None:
        """Open an address in a window of this size (CSS pixels); what was logged is forgotten."""
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get("about:blank")
        self.errors()
        self.requests()
        self.driver.get(address)

    def resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def run(self, script: str, *arguments: Any) -> Any:
        """The value of a script's ``return``."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> Any:
        """The first element of a CSS selector. Raises NoSuchElementException."""
        return self.driver.find_element("css selector", selector)

    def find_all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        """Of all elements, as they are seen; empty for one that is not."""
        return [element.text for element in self.find_all(selector)]

    def point_at(self, element: Any) -> None:
        """Move the mouse to the middle of an element."""
        self._actions().move_to_element(element).perform()
        self.settle()

    def drag(self, element: Any, pixels: int) -> None:
        """Drag from the middle of an element to the right."""
        actions = self._actions().move_to_element(element).click_and_hold()
        # In two moves, as a hand does.
        actions.move_by_offset(pixels - 1, 0).move_by_offset(1, 0).release().perform()
        self.settle()

    def press(self, element: Any, key: str) -> None:
        """Press a key, by its name in selenium's ``Keys``, on an element."""
        from selenium.webdriver import Keys

        element.send_keys(getattr(Keys, key))
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is drawn: two frames."""
        self.driver.execute_async_script(
            "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
        )

    def _actions(self) -> Any:
        from selenium.webdriver import ActionChains

        return ActionChains(self.driver)

    def errors(self) -> list[str]:
        """What the console has had of errors and warnings since the last call."""
        logged = self.driver.get_log("browser")
        return [one["message"] for one in logged if one["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """The addresses asked for since the last call, but of files and within the page."""
        entries = [json.loads(one["message"]) for one in self.driver.get_log("performance")]
        messages = [entry["message"] for entry in entries]
        sent = [m for m in messages if m["method"] == "Network.requestWillBeSent"]
        addresses = [message["params"]["request"]["url"] for message in sent]
        return [address for address in addresses if not _LOCAL.match(address)]

    def requests_elsewhere(self) -> list[str]:
        """The addresses asked for that are not on this machine."""
        return [address for address in self.requests() if not _LOOPBACK.match(address)]

    def picture(self, name: str, whole: bool = True) -> Path:
        """Keep a picture of the page, or of what is seen of it; returns its path."""
        if whole:
            width = self.run("return innerWidth")
            height = self.run("return document.documentElement.scrollHeight")
            self.resize(width, min(height, TALLEST_PICTURE_PX))
            self.settle()
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        path = self._pictures / f"{name}.png"
        path.write_bytes(base64.b64decode(taken["data"]))
        return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of pages are kept: the folder that SCREENSHOTS names, else a temporary one."""
    named = os.environ.get("SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Iterator[Browser]:
    """One Chromium for all tests; each opens its own page."""
    driver = _start(tmp_path_factory.mktemp("chromium"))
    yield Browser(driver, pictures)
    driver.quit()


@pytest.fixture
def page(tmp_path: Path) -> Callable[[str], str]:
    """Write an HTML page to a file; returns its address."""

    def write(text: str) -> str:
        path = tmp_path / "page.html"
        path.write_text(text, encoding="utf-8")
        return path.as_uri()

    return write


def _start(profile: Path) -> Any:
    webdriver = pytest.importorskip("selenium.webdriver")
    paths = [shutil.which(program) for program in PROGRAMS]
    for program, path in zip(PROGRAMS, paths, strict=True):
        if path is None:
            pytest.skip(f"{program} is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for switch in (*SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(switch)
    if os.geteuid() == 0:
        # Chromium's sandbox refuses root, as which containers run.
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Named, so that selenium looks for none on the network.
    service = webdriver.ChromeService(executable_path=paths[1])
    return webdriver.Chrome(options=options, service=service)
