"""The text of an HTML mail, for readers without HTML, and for filters that want one."""

from __future__ import annotations

from html.parser import HTMLParser

_SILENT = frozenset({"head", "script", "style", "title"})
_BREAKS = frozenset({"p", "div", "tr", "li", "ul", "ol", "table", "blockquote", "h1", "h2", "h3"})


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._silent = 0
        self._href = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag == "br" or tag in _BREAKS:
            self.found.append("\n")
        elif tag == "a":
            self._href = dict(attributes).get("href") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(self._silent - 1, 0)
        elif tag in _BREAKS:
            self.found.append("\n")
        elif tag == "a" and self._href.startswith("http"):
            self.found.append(f" ({self._href})")
            self._href = ""

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.found.append(" ".join(data.split()) if data.strip() else " ")
            if data[-1:].isspace() and data.strip():
                self.found.append(" ")


def plain(html: str) -> str:
    """What is to be read of ``html``: a line for each block, with the addresses of its links."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.found).splitlines())
    return "\n".join(line for line in lines if line)
