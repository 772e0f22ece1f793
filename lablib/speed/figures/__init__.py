"""Figures of notebook 07; no torch here."""
