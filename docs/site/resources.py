"""Fails the build if a page of the site would load something from another server."""

import re
from html.parser import HTMLParser
from pathlib import Path

from mkdocs.exceptions import PluginError

ELSEWHERE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
IN_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?\s*((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)
POLICY = "Content-Security-Policy"


class Page(HTMLParser):
    """Collects what a page loads. A link that a reader follows is no load."""

    def __init__(self):
        super().__init__()
        self.loads, self.has_policy = [], False

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            value = value or ""
            loads = name in ("src", "srcset", "poster", "data") or (name, tag) == ("href", "link")
            if loads and ELSEWHERE.match(value):
                self.loads.append(value)
            if name == "style":
                self.loads += IN_STYLE.findall(value)
            if (tag, name, value) == ("meta", "http-equiv", POLICY):
                self.has_policy = True


def on_post_build(config):
    problems = []
    for file in sorted(Path(config.site_dir).rglob("*")):
        loads = []
        if file.suffix == ".html":
            page = Page()
            page.feed(file.read_text(encoding="utf-8"))
            # The browser keeps scripts from what is not seen here.
            loads = page.loads + ([] if page.has_policy else [f"anything: it has no {POLICY}"])
        elif file.suffix in (".css", ".svg"):
            loads = IN_STYLE.findall(file.read_text(encoding="utf-8"))
        problems += [f"{file.relative_to(config.site_dir)} loads {load}" for load in loads]
    if problems:
        raise PluginError("\n".join(problems))
