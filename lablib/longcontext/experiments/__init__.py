"""The experiments on long context: configurations, arms by scale, and run functions, a module a question."""
