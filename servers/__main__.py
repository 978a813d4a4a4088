"""`0711`: the command line. Each command is a few lines; what it does lives in the servers and in `servers.local`."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import typer

from shared.errors import PlatformError
from shared.loading import loading
from shared.proxies import spare_this_machine
from shared.settings import PREFIX, ServerName, Settings, load

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
    help="Turns a company's documents into a signed container image that AI agents can ask.",
)  # fmt: skip

keys = typer.Typer(no_args_is_help=True, help="The keys that sign tokens. The platform has to run for a change.")
app.add_typer(keys, name="keys")

cluster = typer.Typer(no_args_is_help=True, help="Further machines that read files and embed texts: a Ray cluster.")
app.add_typer(cluster, name="cluster")


def _folder(text: str) -> Path:
    if not text:  # as of a shell's variable that is not set; it would be the current folder
        raise typer.BadParameter("it is empty: name a folder, or leave it out.")
    return Path(text)


Home = Annotated[
    Path | None,
    typer.Option(parser=_folder, metavar="<path>", help="Folder of keys, databases and objects. Default ~/.0711."),
]
Address = Annotated[str | None, typer.Option(help="This machine's address in the cluster's network.")]
Processors = Annotated[int | None, typer.Option(help="Processors that it gives; default: all. 0 on cradle's machine.")]
Gpus = Annotated[int | None, typer.Option(help="GPUs that it gives; default: all. 0 on cradle's machine.")]
Roots = Annotated[
    list[Path] | None,
    typer.Option(parser=_folder, metavar="<path>", help="Folder from which customers' files may be read; repeatable."),
]


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(importlib.metadata.version("platform-0711"))
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell it and end.")]


@app.callback()
def platform(version: Version = False) -> None:
    del version  # which was told


@app.command()
def up(home: Home = None, source_root: Roots = None) -> None:
    """Start every service on this machine; Ctrl-C stops them."""
    from servers.local.up import up as run

    asyncio.run(run(load(home=home, source_roots=source_root)))


@app.command()
def serve(
    server: Annotated[ServerName, typer.Argument(help="Which server.")],
    stdio: Annotated[bool, typer.Option(help="Speak MCP over standard input and output (orchestrator).")] = False,
    files: Annotated[Path, typer.Option(help="The instance's folder: data/, model/, instance.json.")] = Path(),
    home: Home = None,
) -> None:
    """Run one server."""
    loading()
    import importlib

    from shared.serving import run_loop

    settings = load(home=home)
    module = importlib.import_module(f"servers.{server}.app")
    if stdio and not hasattr(module, "run_stdio"):
        raise typer.BadParameter(f"{server} has no --stdio; the orchestrator has.")
    if stdio:
        run_loop(module.run_stdio(settings))
    elif server == "instance":
        place = module.Place(files / "data", files / "model", files / "instance.json")
        run_loop(module.main(settings, place, os.environ.get("INSTANCE_ACCESS_KEY")))
    elif server == "marketplace":
        module.run(settings)
    else:
        run_loop(module.main(settings))


@app.command()
def demo(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Your own files or folders instead of the example.")
    ] = None,
    company: Annotated[str | None, typer.Option(help="Name of the customer that the files belong to.")] = None,
    ask: Annotated[list[str] | None, typer.Option(help="A question to ask the finished image; repeatable.")] = None,
    home: Annotated[
        Path | None,
        typer.Option(parser=_folder, metavar="<path>", help="As of `up`, but by default .0711 in this folder."),
    ] = None,
) -> None:
    """Onboard the example customer into a verified image and ask it questions over MCP."""
    from servers.local.demo import demo as run

    settings = load(home=home)
    if "home" not in settings.model_fields_set:
        settings = load(home=Path(".0711"))
    try:
        asyncio.run(run(settings, paths or [], company, ask or []))
    except KeyboardInterrupt:
        sys.stderr.write("\n0711: Stopped. The same command goes on with the same job.\n")
        raise


@app.command()
def connect(
    write: Annotated[bool, typer.Option(help="Write .mcp.json here instead of printing it.")] = False,
    home: Home = None,
) -> None:
    """Show how to connect Claude Code and other MCP clients."""
    from servers.local.connect import connect as run

    run(load(home=home), write)


@app.command()
def audit(
    head: Annotated[
        list[str] | None, typer.Option(help="A head noted earlier; finds that entries at the end are missing.")
    ] = None,
    last: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Instead show so many entries, the newest at the end.")
    ] = None,
    customer: Annotated[str | None, typer.Option(help="Show only what concerns this customer.")] = None,
    home: Home = None,
) -> None:
    """Prove that the audit logs are whole; exit code 1 where one is not. The platform has to run."""
    from servers.local.audit import LAST, prove
    from servers.local.audit import last as newest
    from servers.local.platform import needing_postgres

    chosen = load(home=home)
    if last is not None or customer is not None:
        with needing_postgres(chosen):
            shown = asyncio.run(newest(chosen, last or LAST, customer))
        for line in shown or ["no entries"]:
            typer.echo(line)
        return
    with needing_postgres(chosen):
        lines, whole = asyncio.run(prove(chosen, head or []))
    for line in lines:
        typer.echo(line)
    if not whole:
        raise typer.Exit(1)


@keys.command("list")
def list_keys(home: Home = None) -> None:
    """List the keys, the oldest first."""
    from servers.local.signing import listed

    typer.echo("\n".join(listed(load(home=home))))


@keys.command("rotate")
def rotate_key(home: Home = None) -> None:
    """Make a key that signs from now on; tokens of the older ones stay good to their end.

    Call deploy_customer for each instance then: it takes only the keys that it was started with.
    """
    from servers.local.platform import needing_postgres
    from servers.local.signing import rotate

    chosen = load(home=home)
    with needing_postgres(chosen):
        typer.echo(asyncio.run(rotate(chosen)))


@keys.command("retire")
def retire_key(
    kid: Annotated[str, typer.Argument(help="As `list` shows it; after `--` where it begins with a dash.")],
    now: Annotated[bool, typer.Option(help="Others may know it: end its tokens too.")] = False,
    home: Home = None,
) -> None:
    """Remove an older key; its tokens are refused within the verifiers' cache time."""
    from servers.local.platform import needing_postgres
    from servers.local.signing import retire

    chosen = load(home=home)
    with needing_postgres(chosen):
        asyncio.run(retire(chosen, kid, now=now))


@cluster.command("head")
def cluster_head(
    port: Annotated[int, typer.Option(help="Where the other machines join.")] = 6379,
    ip: Address = None,
    cpus: Processors = None,
    gpus: Gpus = None,
    home: Home = None,
) -> None:
    """Run the cluster's first node on this machine, until Ctrl-C. Makes HOME/keys/cluster-token where there is none."""
    from servers.cradle.cluster.ray import start_node

    raise typer.Exit(start_node(load(home=home), None, ip, port, cpus, gpus))


@cluster.command("join")
def cluster_join(
    address: Annotated[str, typer.Argument(help="HOST:PORT of the head.")],
    ip: Address = None,
    cpus: Processors = None,
    gpus: Gpus = None,
    home: Home = None,
) -> None:
    """Run a node on this machine, until Ctrl-C. It needs the head's HOME/keys/cluster-token."""
    from servers.cradle.cluster.ray import start_node

    raise typer.Exit(start_node(load(home=home), address, ip, 0, cpus, gpus))


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="Folder that gets the backup as a folder of its own.")],
    home: Home = None,
) -> None:
    """Save the whole platform: databases, keys, customers' buckets, archive. Stop `0711 up` first."""
    from servers.local.backup import backup as run

    typer.echo(f"saved          {asyncio.run(run(load(home=home), target.absolute(), typer.echo))}")


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="A folder that `0711 backup` made.")],
    customer: Annotated[str | None, typer.Option(help="Bring back this one alone. The platform has to run.")] = None,
    replace: Annotated[bool, typer.Option(help="It is here: replace its bucket, add what it lacks.")] = False,
    home: Home = None,
) -> None:
    """Make the platform of a backup in an empty home folder, and prove that it is equal."""
    from servers.local.backup import restore as run
    from servers.local.connect import starting
    from servers.local.one_customer import restore_customer
    from servers.local.platform import needing_postgres

    chosen = load(home=home)
    if customer is not None:
        with needing_postgres(chosen):
            asyncio.run(restore_customer(chosen, source.absolute(), customer, typer.echo, replace=replace))
        typer.echo(f"restored       {customer}. Its instance: deploy_customer")
        return
    if replace:
        raise typer.BadParameter("--replace needs --customer.")
    tables = asyncio.run(run(chosen, source.absolute(), typer.echo))
    typer.echo(f"restored       {tables} tables equal. Start it: {starting(chosen)}")


@app.command()
def erase(
    customer: Annotated[str, typer.Argument(help="The customer's id.")],
    confirm: Annotated[str, typer.Option(help="The id once more: nothing brings the data back.")] = "",
    home: Home = None,
) -> None:
    """Erase one customer: instances, rows, bucket, archive, keys. Signs a certificate. The platform has to run."""
    from servers.local.erasure import erase_customer
    from servers.local.platform import needing_postgres

    chosen = load(home=home)
    with needing_postgres(chosen):
        made = asyncio.run(erase_customer(chosen, customer, confirm, typer.echo))
    typer.echo(f"certificate    {made.location}")


@app.command()
def verify_certificate(
    file: Annotated[Path, typer.Argument(help="A certificate of an erasure.")],
    key: Annotated[
        list[Path] | None, typer.Option(help="The signer's public key, instead of this home's; repeatable.")
    ] = None,
    home: Home = None,
) -> None:
    """Say what a certificate of an erasure says, and prove its signature, offline; exit code 1 where it does not hold.

    Who does not trust this machine takes the key from a delivery of that time: --key signer.pub.
    """
    from servers.local.certificates import verify

    lines, holds = verify(load(home=home), file, key or [])
    for line in lines:
        typer.echo(line)
    if not holds:
        raise typer.Exit(1)


@app.command()
def status(home: Home = None) -> None:
    """Show what of the platform answers just now; exit code 1 where not all of it does."""
    from servers.local.status import status as run

    lines, healthy = asyncio.run(run(load(home=home)))
    for line in lines:
        typer.echo(line)
    if not healthy:
        raise typer.Exit(1)


@app.command()
def settings() -> None:
    """List every setting with its default, and the values that it takes where they are few."""
    width = len(PREFIX) + max(map(len, Settings.model_fields))
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        choices = "|".join(get_args(field.annotation)) if get_origin(field.annotation) is Literal else ""
        told = " ".join(filter(None, (field.description, choices)))
        typer.echo(f"{PREFIX + name.upper():<{width}} {'-' if default is None else default!s:<16} {told}".rstrip())


def _speak_utf8() -> None:
    """Names of files, settings and what is said are UTF-8, whatever the locale: Python starts again in that mode."""
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"  # for the servers
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606


def _refused(error: OSError) -> str:
    """What the system did not give, and to what."""
    why = error.strerror or "The system refused"
    if why.startswith("No usable temporary directory"):  # Python's words, in which there is nothing to do
        return "No temporary file can be written: set TMPDIR to a folder where it can."
    whose = " Call this as the user to whom it belongs." if isinstance(error, PermissionError) else ""
    return f"{why}: {error.filename or 'no file named'}.{whose}"


def main() -> None:
    """Entry point: errors of the platform end as one sentence on stderr and exit code 2."""
    _speak_utf8()
    os.umask(os.umask(0) | 0o022)  # nobody else of this machine changes what the platform makes, the model above all
    spare_this_machine(os.environ)
    try:
        app()
    except PlatformError as error:
        sys.stderr.write(f"0711: {error.message}\n")
        sys.exit(2)
    except OSError as error:
        sys.stderr.write(f"0711: {_refused(error)}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
