"""The experiments of notebook 03."""
