"""What is executed for a package: the operator's command, or a container of validated parts. Pure.

Nothing that a submission says becomes a program, a path or an option. Of it come the image's name, which has the form
of `package.IMAGE`, and names of variables.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from servers.marketplace.runners.package import Package
from shared.errors import InvalidInput, Unavailable
from shared.settings import Settings

PATH = "/usr/local/bin:/usr/bin:/bin"
CLIENT_MEMORY = 2 * 2**30
"""Bytes for the engine's command line; the container has limits of its own."""
PROCESSES = 64
FILES = 256
FILE = 256 * 2**20
CPU_S = 3600
LABEL = "com.0711.runner"
NOBODY = "65532:65532"
SCRATCH = "/tmp:rw,noexec,nosuid,nodev,size=64m"  # noqa: S108 - of the container


@dataclass(frozen=True, slots=True)
class Command:
    """A command with its environment and limits.

    Args:
        cleanup: what is run when the command has ended; empty: nothing.
        memory: bytes of the command with all its processes.
        container_environment: what the container's process gets, never a part of the command line.
        own_user: the command may be given a user of its own.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    memory: int
    cleanup: tuple[str, ...] = ()
    container_environment: Mapping[str, str] = field(default_factory=dict)
    own_user: bool = True


@dataclass(frozen=True, slots=True)
class Engine:
    """The container engine's command line, and the engine's address where it is not the usual one."""

    program: str
    host: str | None


def allowed(settings: Settings, package: Package) -> bool:
    """Whether the operator's settings let this package run."""
    if package.kind == "oci":
        return any(package.identifier.startswith(prefix) for prefix in settings.runner_images)
    return package.name in settings.runner_commands


def shared(settings: Settings, package: Package) -> bool:
    """Whether customers without a credential share one process."""
    command = settings.runner_commands.get(package.name)
    return package.kind != "oci" and command is not None and command.shared


def variables(settings: Settings, package: Package) -> tuple[str, ...]:
    """The variables that may hold a credential: for a command the operator names them, for a name such as LD_PRELOAD
    would make a command of it; in a container they reach the image's own program alone."""
    if package.kind == "oci":
        return package.variable_names
    command = settings.runner_commands.get(package.name)
    return tuple(name for name in package.variable_names if command is not None and name in command.variables)


def variable_for(settings: Settings, package: Package, asked: str | None) -> str:
    """The variable that carries a credential.

    Raises:
        InvalidInput: the package has no such variable, or several and none is named.
    """
    names = variables(settings, package)
    if asked is None and len(names) == 1:
        return names[0]
    if asked not in names:
        told = ", ".join(names) or "none: the operator names a command's variables in P0711_RUNNER_COMMANDS"
        raise InvalidInput(f"Name in `header` the variable that the package reads. It has {told}.", field="header")
    return asked


def command_of(
    settings: Settings, package: Package, credential: tuple[str, str] | None, engine: Engine | None
) -> Command:
    """The command for a package.

    Args:
        credential: name and value of the one variable that holds the customer's own.
        engine: what runs images; None: there is none.

    Raises:
        Unavailable: the operator's settings do not let it run, or there is no engine.
    """
    if not allowed(settings, package):
        setting = "P0711_RUNNER_IMAGES" if package.kind == "oci" else "P0711_RUNNER_COMMANDS"
        raise Unavailable(f"This platform does not run this package: the operator allows packages in {setting}.")
    if credential is not None and credential[0] not in variables(settings, package):
        raise Unavailable("The variable of this credential is no longer allowed: connect_mcp connects it again.")
    given = dict([credential] if credential else [])
    if package.kind == "oci":
        if engine is None:
            raise Unavailable("This server is an image, and there is no `docker` command here that could run it.")
        return _container(settings, package, given, engine)
    command = settings.runner_commands[package.name]
    return Command(
        tuple(command.command), {"PATH": PATH} | command.environment | given, settings.runner_memory_mb * 2**20
    )


def _container(settings: Settings, package: Package, given: dict[str, str], engine: Engine) -> Command:
    docker = engine.program
    name, memory = f"0711-runner-{secrets.token_hex(8)}", f"{settings.runner_memory_mb}m"
    argv = (
        docker, "run", "--interactive", "--rm", "--name", name, "--label", LABEL, "--pull", "never",
        "--read-only", "--tmpfs", SCRATCH, "--user", NOBODY,
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--network", settings.runner_network,
        "--memory", memory, "--memory-swap", memory, "--pids-limit", str(PROCESSES), "--cpus", "1",
        "--ulimit", f"nofile={FILES}:{FILES}", "--ulimit", "core=0:0", "--log-driver", "none",
    )  # fmt: skip
    return Command(
        (*argv, *(("--env-file", ENV_FILE) if given else ()), package.identifier),
        {"PATH": PATH} | ({"DOCKER_HOST": engine.host} if engine.host else {}),
        CLIENT_MEMORY,
        cleanup=(docker, "rm", "--force", name),
        container_environment=given,
        own_user=False,
    )


ENV_FILE = "ENV_FILE"
"""Stands in a command for the descriptor that holds the container's environment."""
