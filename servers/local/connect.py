"""`0711 connect`: the lines that connect MCP clients."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from shared.errors import InvalidInput
from shared.settings import PREFIX, Settings

ADDRESSES = (
    "host",
    *(f"{server}_{part}" for server in ("orchestrator", "marketplace", "cradle") for part in ("port", "url")),
)


def stdio_command(settings: Settings) -> list[str]:
    """The command that serves the orchestrator over stdio with the operator's local credential."""
    return [
        str(_program()),
        "serve",
        "orchestrator",
        "--stdio",
        "--home",
        str(settings.home),
    ]


def stdio_environment(settings: Settings) -> dict[str, str]:
    """The settings that say where this platform answers, where that is not the default: a client has not set them."""
    values = {name: getattr(settings, name) for name in ADDRESSES}
    return {
        PREFIX + name.upper(): str(value)
        for name, value in values.items()
        if value != Settings.model_fields[name].default
    }


def mcp_json(settings: Settings) -> dict[str, object]:
    """What `.mcp.json` holds. No secret: over stdio the local credential is read from the home folder."""
    command, *arguments = stdio_command(settings)
    entry: dict[str, object] = {"type": "stdio", "command": command, "args": arguments}
    if environment := stdio_environment(settings):
        entry["env"] = environment
    return {"mcpServers": {"0711": entry}}


def claude_code_line(settings: Settings) -> str:
    """The line that adds the orchestrator to Claude Code."""
    variables = [word for name, value in stdio_environment(settings).items() for word in ("-e", f"{name}={value}")]
    return shlex.join(["claude", "mcp", "add", "0711", *variables, "--", *stdio_command(settings)])


def marketplace_lines(settings: Settings) -> str:
    """The line that adds the marketplace to Claude Code, and who signs in on the page that it then opens."""
    from servers.local.platform import operator_file

    line = shlex.join(["claude", "mcp", "add", "--transport", "http", "0711-marketplace"])
    sign_in = f"Sign in as the operator: e-mail address and password are in {operator_file(settings.home)}"
    return f"{line} {settings.resource('marketplace')}\n  {sign_in}"


def command_line(*arguments: str) -> str:
    """A line to type: this installation's `0711` with arguments."""
    program = _program()
    shown = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
    return shlex.join([str(shown), *arguments])


def starting(settings: Settings) -> str:
    """What starts this platform, as sentences name it: another one would be made where its home is left out."""
    return shlex.join(["0711", "up", *(["--home", str(settings.home)] if "home" in settings.model_fields_set else [])])


def _program() -> Path:
    return Path(sys.executable).with_name("0711")


def connect(settings: Settings, write: bool) -> None:
    """Prints the configuration, or writes `.mcp.json` into the current folder; never over another server's entry."""
    path = Path(".mcp.json")
    wanted = mcp_json(settings)
    if not write:
        print(f"Claude Code:\n  {claude_code_line(settings)}\n\nAny client (.mcp.json):")  # noqa: T201
        print(json.dumps(wanted, indent=2))  # noqa: T201
        print(f"\nThe marketplace, with every installed server:\n  {marketplace_lines(settings)}")  # noqa: T201
        return
    try:
        current = json.loads(path.read_text()) if path.exists() else {}
        current.setdefault("mcpServers", {}).update(wanted["mcpServers"])
    except (ValueError, AttributeError):
        raise InvalidInput(f"{path.resolve()} is not a JSON object. Mend it or move it away, then try again.") from None
    path.write_text(json.dumps(current, indent=2) + "\n")
    print(f"Wrote {path}")  # noqa: T201
