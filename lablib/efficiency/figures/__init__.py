"""Figures: table in, plotly figure out, no torch."""
