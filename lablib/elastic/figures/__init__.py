"""Figures: table in, plotly figure out, no torch; a module a notebook."""
