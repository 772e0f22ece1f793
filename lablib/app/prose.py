"""Markdown and HTML of a notebook as HTML that is harmless, asks nothing of a network, and needs no MathJax."""

import html
import re
from html.entities import html5
from typing import Any

import bleach
from markupsafe import Markup
from nbconvert.filters.markdown_mistune import InvalidNotebook, IPythonRenderer, MarkdownWithMath

TAGS = "a b blockquote br caption code col colgroup dd del details div dl dt em figcaption h1 h2 h3 h4 h5 h6 hr i img"
TAGS += " ins kbd li ol p pre s small span strong sub summary sup table tbody td tfoot th thead tr u ul"
ATTRIBUTES = frozenset(["alt", "class", "colspan", "rowspan", "scope", "span", "start", "title"])
# dropped with what is inside; bleach makes the rest harmless, whatever this expression misses
_SILENT = re.compile(
    r"<(applet|canvas|embed|iframe|math|noscript|object|script|style|svg|template|textarea|title)\b.*?(</\1\s*>|\Z)",
    re.DOTALL | re.IGNORECASE,
)
# TeX's words that are not named so in HTML
_TEX = {"cdot": "·", "dots": "…", "ldots": "…", "cdots": "⋯", "partial": "∂", "sqrt": "√"}
_TEX |= dict.fromkeys(("mathrm", "text", "mathbf", "operatorname", "left", "right"), "")
_ACCENTS = {"bar": "\N{COMBINING MACRON}", "hat": "\N{COMBINING CIRCUMFLEX ACCENT}"}


def sanitize(text: str, *, links: bool = False) -> Markup:
    """The harmless part of an HTML fragment: no script, no handler, no style, no picture from outside the page.

    `links` keeps links to https addresses: a person follows them, the page does not.
    """
    protocols = ["data", "https"] if links else ["data"]
    kept = bleach.clean(_SILENT.sub("", text), TAGS.split(), _is_kept, protocols=protocols, strip=True)
    return Markup(re.sub(r"<img(?![^>]* src=)[^>]*>", "", kept))


def _is_kept(tag: str, name: str, value: str) -> bool:
    if (tag, name) == ("img", "src"):
        return value.strip().lower().startswith("data:image/")
    if (tag, name) == ("a", "href"):
        return value.startswith(("#", "https://"))
    return name in ATTRIBUTES


def markdown(text: str, *, path: str = "", attachments: dict[str, Any] | None = None) -> Markup:
    """Markdown as harmless HTML: pictures below the folder `path` put in, headings a level lower."""
    how = {"escape": False, "exclude_anchor_links": True, "embed_images": bool(path), "path": path}
    renderer = _Renderer(**how, attachments=attachments)
    try:
        return sanitize(MarkdownWithMath(renderer=renderer).render(text), links=True)
    except InvalidNotebook:  # it shows an attachment that it does not have
        return Markup("<pre>{}</pre>").format(text)


def inline(text: str) -> Markup:
    """One line of Markdown, such as a heading, as HTML without a paragraph around it."""
    return Markup(re.sub(r"^<p>|</p>$", "", markdown(text).strip()))


def formula(tex: str) -> str:
    """TeX as HTML that a person can read: letters and signs as such, sub- and superscripts; other words as they are."""
    text = re.sub(r"\\[,;:! ]", " ", html.unescape(tex))
    text = re.sub(r"\\d?frac(\w)(\w)", r"\1/\2", re.sub(r"\\q?quad", " ", text))
    text = re.sub(r"\\d?frac\{([^{}]*)\}\{([^{}]*)\}", r"(\1)/(\2)", text)
    text = re.sub(r"\\(sqrt)\{([^{}]*)\}", r"\\\1(\2)", text)
    text = re.sub(r"\\(bar|hat)\s*\{?(\w)\}?", lambda match: match[2] + _ACCENTS[match[1]], text)
    text = re.sub(r"\\([A-Za-z]+)", lambda match: _TEX.get(match[1], html5.get(f"{match[1]};", match[1])), text)
    return _scripts(html.escape(text, quote=False)).replace("{", "").replace("}", "")


def _scripts(text: str) -> str:
    def put(match: re.Match) -> str:
        tag = "sub" if match[1] == "_" else "sup"
        return f"<{tag}>{_scripts(match[2] or match[3])}</{tag}>"

    return re.sub(r"([_^])(?:\{([^{}]*)\}|(\w|[^\w\s{}]))", put, text)


class _Renderer(IPythonRenderer):
    """nbconvert's, with formulas that can be read without MathJax and headings that go below those of the page."""

    def heading(self, text: str, level: int, **attributes: Any) -> str:
        return super().heading(text, min(level + 1, 6), **attributes)

    def inline_math(self, body: str) -> str:
        return f'<span class="math" title="{html.escape(body)}">{formula(body)}</span>'

    def block_math(self, body: str) -> str:
        return f'<span class="math block" title="{html.escape(body)}">{formula(body)}</span>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(body)

    def _html_embed_images(self, text: str) -> str:
        """As nbconvert's, but leaves open what is closed later: <details>, Markdown, </details>."""
        source = r"(<img\b[^>]*?\bsrc=\")([^\"]+)"
        return re.sub(source, lambda match: match[1] + (self._src_to_base64(match[2]) or match[2]), text)
