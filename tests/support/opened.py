"""A page in a real browser: opens it, reads it, resizes it, and watches it for errors and requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

# The contrast (WCAG 2) of every visible text with its background, and the text.
CONTRASTS = """
const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
const over = ([r, g, b, a = 1], behind) => [r, g, b].map((v, k) => a * v + (1 - a) * behind[k]);
const behind = (node) => node ? over(channels(getComputedStyle(node).backgroundColor), behind(node.parentElement))
  : [255, 255, 255];
const luminance = (colour) => colour.map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92
  : ((v + .055) / 1.055) ** 2.4).reduce((sum, v, k) => sum + v * [.2126, .7152, .0722][k], 0);
return [...document.body.querySelectorAll("*")]
  .filter((node) => node.checkVisibility() && [...node.childNodes].some((c) => c.nodeType === 3 && c.data.trim()))
  .map((node) => {
    const style = getComputedStyle(node);
    const paper = behind(node);
    const ink = over(channels(node instanceof SVGElement ? style.fill : style.color), paper);
    const [dark, light] = [luminance(ink), luminance(paper)].sort((a, b) => a - b);
    return [(light + .05) / (dark + .05), node.textContent];
  });
"""


class Page:
    """A page opened in a browser."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver, self.address = driver, address

    def open(self, fragment: str = "") -> None:
        self.driver.get("about:blank")  # without this, only the fragment would change
        self.driver.get(f"{self.address}{fragment}")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def wait_for(self, selector: str, start: str, seconds: float = 10) -> None:
        """Wait until the text begins with `start`; TimeoutException if it does not."""
        WebDriverWait(self.driver, seconds, 0.01).until(lambda _: self.text(selector).startswith(start))

    def each(self, selector: str, expression: str = "node.textContent") -> list[Any]:
        """The values of a JavaScript expression for every `node` that the selector finds."""
        return self.run(f"return [...document.querySelectorAll(arguments[0])].map((node) => {expression})", selector)

    def keys(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def hover(self, element: WebElement) -> None:
        self.run("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", element)
        ActionChains(self.driver).move_to_element(element).perform()

    def emulate(self, media: str = "", scheme: str = "light") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})

    def resize(self, width: int) -> None:
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    @contextmanager
    def watched(self) -> Iterator[Any]:
        """Open the page, 1280 px wide; after the block, assert that it logged no error and sent no request."""
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.emulate()
        self.resize(1280)
        self.open()
        yield self
        assert self.driver.get_log("browser") == []
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        assert self.address in [address.partition("#")[0] for address in sent]  # so the log works
        assert [address for address in sent if not address.startswith(("file:", "data:", "about:"))] == []
