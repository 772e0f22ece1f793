"""The skeleton of the report: one HTML page with its own style and script, and the order to fetch nothing."""

import html

# The browser itself refuses whatever would leave the page; plotly's WebGL traces compile their shaders' glue.
POLICY = (
    "default-src 'none'; img-src data: blob:; font-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline' 'unsafe-eval'; worker-src blob:"
)

STYLE = """
:root { color-scheme: light dark; --ink: #1c2329; --soft: #57636e; --paper: #ffffff; --raised: #f4f6f8;
  --line: #d5dbe1; --link: #0b5cad; --ok: #0a6b46; --bad: #b3261e; --wait: #7a5300; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e8ec; --soft: #a3afba; --paper: #14191e; --raised: #1e252c; --line: #37424d; --link: #7ab8f5;
    --ok: #5fd0a0; --bad: #ff8a80; --wait: #f0c05a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; margin: 0 0 .25rem; line-height: 1.3; }
h3 { font-size: 1.02rem; margin: 2rem 0 .5rem; }
a { color: var(--link); }
p { margin: .5rem 0; }
section { border-top: 1px solid var(--line); margin-top: 2.75rem; padding-top: 1.5rem; }
nav ol { list-style: none; padding: 0; margin: 1rem 0; }
nav li { padding: .35rem 0; border-bottom: 1px solid var(--line); display: flex; gap: .25rem 1rem; flex-wrap: wrap; }
nav li a { flex: 1 1 16rem; }
.soft, figcaption { color: var(--soft); font-size: .92rem; }
.status { font-weight: 600; }
.ok { color: var(--ok); } .bad { color: var(--bad); } .wait { color: var(--wait); }
.notice { border-left: 4px solid var(--wait); background: var(--raised); padding: .6rem .9rem; margin: 1rem 0; }
.notice.bad { border-color: var(--bad); color: inherit; }
pre { background: var(--raised); padding: .7rem .9rem; border-radius: 6px; overflow-x: auto; margin: .75rem 0;
  font: .85rem/1.45 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
pre.error { border-left: 4px solid var(--bad); }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
thead th { border-bottom: 2px solid var(--soft); } tbody th, th:first-child { text-align: left; }
.facts th, .facts td, .prose th, .prose td { text-align: left; white-space: normal; }
.prose { overflow-x: auto; }
figure { margin: 1rem 0; overflow-x: auto; background: #ffffff; color: #1c2329; border-radius: 6px; }
figure img { max-width: 100%; height: auto; display: block; } figure p { padding: .7rem .9rem; }
.plot { min-height: 20rem; } .plot.panels { min-width: 34rem; }
summary { cursor: pointer; color: var(--soft); }
@media print { figure, pre, tr { break-inside: avoid; } body { max-width: none; } }
"""

DRAW = """
for (const kept of document.querySelectorAll('script[data-figure]')) {
  const place = document.getElementById(kept.dataset.figure);
  const {data, layout, frames} = JSON.parse(kept.textContent);
  place.style.minHeight = '0';
  Plotly.newPlot(place, {data, layout, frames, config: {responsive: true, displaylogo: false}});
}
"""


def page(title: str, body: str, *, figures: bool) -> str:
    """A whole HTML page; plotly.js is put in once, and only where there is a figure to draw."""
    script = ""
    if figures:
        from plotly.offline import get_plotlyjs

        script = f"<script>{get_plotlyjs()}</script>\n<script>{DRAW}</script>\n"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
<noscript><style>.plot {{ display: none; }}</style></noscript>
</head>
<body>
{body}
{script}</body>
</html>
"""
