"""Importing LanceDB leaves the client of remote catalogues out, and the next import of another package as it was."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import sys
from shared.dataset import lance
lance.module()
client = {name for name in sys.modules if name.startswith("lance_namespace_urllib3_client")}
assert client and not any(hasattr(sys.modules[name], "__file__") for name in client), "it was read from its files"
assert not any(type(finder).__module__.startswith("shared.") for finder in sys.meta_path), "later imports find it too"
if sys.version_info < (3, 12):
    import overrides
    assert overrides.override.__module__.startswith("overrides"), "another package's methods would not be checked"
print("as it should be")
"""


def test_the_import_reads_no_client_of_remote_catalogues() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=False)
    assert "as it should be" in done.stdout, done.stderr
