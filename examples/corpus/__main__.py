"""`python -m examples.corpus FOLDER` writes the example corpus."""

import sys
from pathlib import Path

from examples.corpus import write

for path in write(Path(sys.argv[1] if len(sys.argv) > 1 else "example-customer")):
    print(path)
