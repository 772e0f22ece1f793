"""The experiments of notebook 05."""
