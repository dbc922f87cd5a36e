"""HTML to text that people, and models, can read."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_SILENT = frozenset({"script", "style", "noscript", "template", "svg", "iframe", "object", "head", "canvas", "select"})
_ASIDE = frozenset({"nav", "footer", "aside", "form"})
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "blockquote",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "figcaption",
        "figure",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "tbody",
        "tr",
        "ul",
        "br",
        "body",
    ]
)
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_SPACE = re.compile(r"[ \t\r\f\v\u00a0]+")
_LINES = re.compile(r"\n{3,}")
# A page that keeps its text in its margins has more there than this.
_LEAST_CHARS = 200
_MAX_DEPTH = 50


class _Reader(HTMLParser):
    def __init__(self, *, everything: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.parts: list[str] = []
        self._skipped = _SILENT if everything else _SILENT | _ASIDE
        self._silent: list[str] = []
        self._in_title = False
        self._as_it_is = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title" and not self.title:
            self._in_title = True
        if tag == "body":
            # What comes before was the head, closed or not.
            self._silent.clear()
        if tag in self._skipped and len(self._silent) < _MAX_DEPTH:
            self._silent.append(tag)
        if self._silent:
            return
        if tag in _BLOCKS:
            self.parts.append("\n")
        if tag in _HEADINGS:
            self.parts.append(f"\n{_HEADINGS[tag]} ")
        elif tag == "li":
            self.parts.append("- ")
        elif tag in ("td", "th"):
            self.parts.append(" | ")
        elif tag == "pre":
            self._as_it_is += 1
        elif tag == "img" and (words := dict(attrs).get("alt")):
            self.parts.append(f"[{words.strip()}]")

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if tag in self._silent:
            while self._silent and self._silent.pop() != tag:
                continue
            return
        if not self._silent and tag in _BLOCKS:
            self.parts.append("\n")
        if tag == "pre":
            self._as_it_is = max(0, self._as_it_is - 1)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._silent:
            self.parts.append(data if self._as_it_is else re.sub(r"\s+", " ", data))


def page_text(html: str) -> tuple[str, str]:
    """Give the title and the text of a page, without what is around it (menus, footers) where there is enough left."""
    title, text = _read(html, everything=False)
    if len(text) < _LEAST_CHARS:
        whole = _read(html, everything=True)[1]
        text = whole if len(whole) > 2 * len(text) else text
    return title, text


def _read(html: str, *, everything: bool) -> tuple[str, str]:
    reader = _Reader(everything=everything)
    # Never closed: at the end of a document the parser looks again, to its end, from each thing that is not complete.
    reader.feed(f"{html} <br>")
    return _SPACE.sub(" ", reader.title).strip(), _tidy("".join(reader.parts))


def _tidy(text: str) -> str:
    lines = [_SPACE.sub(" ", line).strip(" |") for line in text.split("\n")]
    return _LINES.sub("\n\n", "\n".join(lines)).strip()


def readable(text: str) -> str:
    """Take marks of HTML out of a short text, such as an excerpt."""
    if "<" not in text and "&" not in text:
        return text.strip()
    return re.sub(r"\s+", " ", _read(text, everything=True)[1]).strip()
