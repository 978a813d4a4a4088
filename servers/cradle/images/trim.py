"""What an image leaves out of the packages and the standard library that it takes from the running Python, and why.

This is the one list of removals. Debugging sections of binaries are cut off beside it, by `elf.slim`. The bill of
materials is read from the finished layers, so that it names what is left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

PACKAGES, STANDARD_LIBRARY = "packages", "standard library"

# Required by a package that we use, but only by a part of it that an instance does not reach.
NOT_REACHED = {
    "huggingface-hub": "tokenizers downloads with it; the model is in the image",
    "lance-namespace-urllib3-client": "LanceDB asks remote catalogues with it; `shared.dataset.lance` stands in for it",
    "openvino-telemetry": "OpenVINO's converters report with it",
    "pycparser": "cffi reads C declarations with it when an extension is built",
    "pywin32": "Windows",
}


@dataclass(frozen=True, slots=True)
class Trim:
    """Files whose names (relative to the site or the standard library) match are left out.

    `since` says why nothing misses them.
    """

    pattern: str
    since: str


TRIMS = {
    PACKAGES: (
        Trim(r"(^|/)(tests?|testing/_private|_pyinstaller)/", "no test and no installer runs in an image"),
        Trim(r"(^|/)__pycache__/|\.pyc$", "byte code is made anew, without times and paths of this machine"),
        Trim(r"(^|/)(include|cmake)/|\.(pyi|pyx|pxd|pxi|h|hpp|hh|c|cc|cpp|a|pc|cmake|exe|lib)$", "nothing is built"),
        Trim(
            r"\.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json|uv_cache\.json|sboms/.*)$",
            "they describe the installation on this machine; names, versions and licences stay",
        ),
        Trim(r"^numpy/(f2py|distutils|typing/tests)/", "Fortran, builds and type checks"),
        Trim(r"^numpy/(fft|polynomial|random)/", "numpy loads them on first use; vectors are only multiplied"),
        Trim(r"^numpy/_core/_(simd|\w+_tests)\.", "numpy's own tests"),
        Trim(r"^sqlglot/(executor/|dialects/(?!__init__|dialect|postgres))", "one dialect is read, and nothing is run"),
        Trim(r"^pydantic/(v1/|mypy\.py)", "models of pydantic 1 and a type checker's plugin"),
        Trim(r"^pyarrow/(src|interchange)/", "sources, and the exchange with other data frames"),
        Trim(
            r"^pyarrow/(lib)?(arrow_python_)?_?(arrow_)?(flight|gandiva|orc|cuda|hdfs|gcsfs|azurefs|s3fs|s3)\b"
            r"|^pyarrow/libarrow_(python_)?(flight|gandiva|s3)",
            "an image reads local Parquet files only",
        ),
        Trim(
            r"^pyarrow/(.*parquet_encryption|_pyarrow_cpp_tests|_substrait).*\.so",
            "no encrypted Parquet, no query plans of others",
        ),
        Trim(r"^pyarrow/libarrow_python(_\w+)?\.so(\.\d+\.\d+\.\d+)?$", "copies of a library under other names"),
        Trim(r"^openvino/(torch|tools)/", "converters; the model is converted"),
        Trim(r"^openvino/frontend/(jax|onnx|paddle|pytorch|tensorflow)/", "the model is in OpenVINO's own format"),
        Trim(
            r"^openvino/libs/libopenvino_(gguf|jax|onnx|paddle|pytorch|tensorflow|tensorflow_lite)_frontend\.so",
            "the model is in OpenVINO's own format",
        ),
        Trim(
            r"^openvino/libs/(cache\.json|libopenvino_(intel_gpu|intel_npu|auto|auto_batch|hetero)_plugin\.so)",
            "an instance computes on the CPU",
        ),
        Trim(r"^openvino/libs/libopenvino_c\.so", "the interface for programs in C"),
    ),
    STANDARD_LIBRARY: (
        Trim(r"(^|/)(tests?|idle_test)/|(^|/)(_test|_xxtestfuzz|xxlimited)", "Python's own tests"),
        Trim(r"(^|/)(__pycache__/|\.)|\.(pyc|a|orig)$", "byte code is made anew; nothing is linked"),
        Trim(r"^(config-[^/]*|ensurepip|venv|distutils|lib2to3|msilib)/", "nothing is built or installed in an image"),
        Trim(r"^(site-packages|dist-packages)/", "packages are a layer of their own"),
        Trim(
            r"^(idlelib|tkinter|turtledemo|curses|pydoc_data)/|(^|/)(_tkinter|turtle\.py|_curses)",
            "an image has no screen",
        ),
        Trim(r"(^|/)(readline|nis|ossaudiodev|spwd|_crypt)\.[^/]*so$", "no terminal, no sound, no shared accounts"),
        Trim(r"^(dbm|sqlite3)/|(^|/)(_dbm|_gdbm|_sqlite3)\.", "databases that an instance does not use"),
        Trim(r"(^|/)_codecs_(cn|hk|iso2022|jp|kr|tw)\.", "texts in an image are UTF-8"),
        Trim(
            r"^xmlrpc/|^(mailbox|imaplib|nntplib|poplib|smtpd|smtplib|ftplib|telnetlib|cgi|cgitb|aifc|sunau)\.py$",
            "an instance sends no mail and speaks no protocol but HTTP",
        ),
        Trim(r"^(doctest|pdb)\.py$|^unittest/", "no test and no debugger runs in an image"),
    ),
}  # fmt: skip


@cache
def _pattern(kind: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{trim.pattern})" for trim in TRIMS[kind]))


def left_out(kind: str, name: str) -> bool:
    """Whether an image goes without this file of `PACKAGES` or of the `STANDARD_LIBRARY`."""
    return _pattern(kind).search(name) is not None
