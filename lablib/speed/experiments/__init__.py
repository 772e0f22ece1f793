"""The experiments of notebook 07."""
