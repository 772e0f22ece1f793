"""The experiments of notebook 04."""
