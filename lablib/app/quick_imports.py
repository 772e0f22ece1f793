"""Import this before nbformat, and nbformat imports in a tenth of the time.

nbformat imports jsonschema. Where the package rfc3987_syntax is installed, as it is beside JupyterLab, jsonschema
builds a parser of international web addresses. That takes two seconds of CPU, and no notebook is checked for such
addresses. jsonschema does without the parser where the package cannot be imported.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)
