"""HTML that came out of a notebook, reduced to tables and text: no script, no handler, no address outside the page."""

import html
from html.parser import HTMLParser

# fmt: off
ALLOWED = frozenset([
    "a", "b", "br", "caption", "code", "col", "colgroup", "dd", "del", "details", "div", "dl", "dt", "em", "figcaption",
    "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "ins", "kbd", "li", "ol", "p", "pre", "s", "small", "span",
    "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul",
])
SILENT = frozenset([  # dropped with all that is inside
    "applet", "canvas", "embed", "iframe", "math", "noscript", "object", "script", "style", "svg", "template",
    "textarea", "title",
])
# fmt: on
VOID = frozenset(["br", "col", "hr", "img"])
ATTRIBUTES = frozenset(["alt", "class", "colspan", "rowspan", "scope", "span", "start", "title"])


def sanitize(text: str) -> str:
    """The allowed part of an HTML fragment, every element closed that it opened."""
    cleaner = _Cleaner()
    cleaner.feed(text)
    cleaner.close()
    return cleaner.result()


class _Cleaner(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.open: list[str] = []
        self.silenced: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in SILENT:
            self.silenced.append(tag)
        if self.silenced or tag not in ALLOWED:
            return
        kept = {name: value or "" for name, value in attrs if name in ATTRIBUTES}
        address = (dict(attrs).get("src") or dict(attrs).get("href") or "").strip()
        if tag == "img":
            if not address.lower().startswith("data:image/"):
                return
            kept["src"] = address
        if tag == "a" and address.startswith("#"):
            kept["href"] = address
        attributes = "".join(f' {name}="{html.escape(value)}"' for name, value in kept.items())
        self.parts.append(f"<{tag}{attributes}>")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in SILENT and tag in self.silenced:
            del self.silenced[self.silenced.index(tag) :]
        elif not self.silenced and tag in self.open:
            while (last := self.open.pop()) != tag:
                self.parts.append(f"</{last}>")
            self.parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self.silenced:
            self.parts.append(html.escape(data, quote=False))

    def result(self) -> str:
        return "".join([*self.parts, *(f"</{tag}>" for tag in reversed(self.open))])
