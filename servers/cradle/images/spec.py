"""What an image is to be. Pure: every value is checked by type here, so that no template or command can be bent by one.

Templates and commands only ever see an `ImageSpec`. Its strings are single-line printable ASCII without quotes, back
slashes, `$`, back ticks, braces or `<>`, and do not start with `-`: nothing in them means anything to Docker, YAML,
Jinja2 or a shell. Jinja2's own escaping would not do: a newline alone adds an instruction to a Dockerfile.
"""

from __future__ import annotations

from pydantic import Field

from shared.contracts.deployment import VersionTag
from shared.contracts.image import Architecture, Compression
from shared.contracts.model import Contract
from shared.ids import CustomerId, Digest

SOURCE_EPOCH = 1_767_225_600  # 2026-01-01T00:00:00Z: the one time that files and configurations in an image carry
INSTANCE_PORT = 9312
USER = 65532  # the id that distroless images use for "nonroot"
SITE = "/opt/0711/site"
APP = "/opt/0711/app"
PYTHON = "/usr/local/bin/python3"
LIBRARIES = ("/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu")
SCRATCH = "/tmp"  # noqa: S108 - a path inside the image: the one place that an instance writes to
STATE = "/var/lib/instance"  # where a volume belongs: updates live there
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
ENTRYPOINT = (
    PYTHON, "-m", "servers.instance", "--dataset", "/data", "--model", "/model", "--config", "/app/instance.json",
)  # fmt: skip


class ImageSpec(Contract):
    """Everything about an image but the files in it."""

    customer_id: CustomerId
    tag: VersionTag
    fingerprint: Digest = Field(description="Fingerprint of the installation parameters.")
    dataset_digest: Digest
    parameter_version: int = Field(1, ge=1)
    architecture: Architecture = "amd64"
    compression: Compression = "gzip"
    port: int = Field(default=INSTANCE_PORT, ge=1024, le=65535)

    @property
    def repository(self) -> str:
        """The image's name without its tag."""
        return f"0711/{self.customer_id}"

    @property
    def reference(self) -> str:
        """The image's name with its tag: `0711/acme:1.0`."""
        return f"{self.repository}:{self.tag}"

    @property
    def labels(self) -> dict[str, str]:
        """The image's labels: the standard ones and ours."""
        return {
            "org.opencontainers.image.title": f"{self.customer_id} knowledge instance",
            "org.opencontainers.image.description": "MCP server and console over one customer's documents",
            "org.opencontainers.image.vendor": "0711",
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.version": self.tag,
            "org.opencontainers.image.revision": self.dataset_digest,
            "org.opencontainers.image.created": created(),
            "com.0711.customer": self.customer_id,
            "com.0711.dataset.digest": self.dataset_digest,
            "com.0711.parameters.fingerprint": self.fingerprint,
            "com.0711.parameters.version": str(self.parameter_version),
        }

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the process in the image."""
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LD_LIBRARY_PATH": ":".join(LIBRARIES),
            "PYTHONPATH": f"{APP}:{SITE}",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SSL_CERT_FILE": CERTIFICATES,
            "LANG": "C.UTF-8",
            "HOME": SCRATCH,
            "TMPDIR": SCRATCH,
            "INSTANCE_HOST": "0.0.0.0",  # noqa: S104 - a container's own network; the engine decides who reaches it
            "INSTANCE_PORT": str(self.port),
            "INSTANCE_STATE": STATE,
        }

    @property
    def health_command(self) -> tuple[str, ...]:
        """The command with which an engine asks whether the instance is healthy; no shell in it, and no proxy, which
        Docker's own configuration gives every container. It is asked for as long as the instance lives: `http.client`
        would take it more than twice the processor time."""
        ask = f"GET /health HTTP/1.1\\r\\nHost: 127.0.0.1:{self.port}\\r\\nConnection: close\\r\\n\\r\\n"
        code = (
            f"import socket as s;c=s.create_connection(('127.0.0.1',{self.port}),4);c.sendall(b'{ask}');"
            "raise SystemExit(c.makefile('rb').readline().split()[1:2]!=[b'200'])"
        )
        return (PYTHON, "-S", "-c", code)


def created() -> str:
    """`SOURCE_EPOCH` as an image's configuration writes it."""
    return "2026-01-01T00:00:00Z"
