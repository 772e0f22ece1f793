"""Figures: table in, plotly figure out, no torch; a module an experiment, named like it."""
