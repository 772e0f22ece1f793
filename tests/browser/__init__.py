"""The notebooks in a real JupyterLab and the report of a run, both in a real Chromium."""
