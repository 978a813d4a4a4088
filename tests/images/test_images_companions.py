"""A delivery with a Neo4j beside the instance: its compose file, what its first start makes, what is not offered."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from servers.cradle.images.package import package_delivery
from servers.cradle.images.render import compose, delivery
from servers.cradle.images.signing import Signer
from shared.contracts.image import Companion
from shared.errors import InvalidInput
from tests.image_rig import CustomerImage, small_image

DOCKER = """#!/bin/sh
echo "$*" >> "$PWD/asked"
case "$*" in
    *" neo4j "*) # in the volume, which is not the folder's
        mkdir -p ../graph
        for last; do :; done
        case "$*" in
            *neo4j-admin*) [ ! -e "$PWD/no-room" ] && echo "$PWD" > ../graph/nodes ;;
            *) sh -c "$(echo "$last" | sed s,/data/,../graph/,)" ;;
        esac ;;
    *port*) echo 127.0.0.1:9312 ;;
    "image inspect"*) cat "$PWD/image-id" ;;
    "ps -a"*"project=instance-acme"*working_dir*) cat "$PWD/started-in" 2>/dev/null ;;
    *" up "*) echo "limit ${INSTANCE_CPUS:-2} ${NEO4J_CPUS:-2}" >> "$PWD/asked"; [ ! -e "$PWD/port-in-use" ] ;;
    info*) cat "$PWD/info" 2>/dev/null ;;
esac
"""


@pytest.fixture
def image(tmp_path: Path) -> CustomerImage:
    return small_image(tmp_path / "bucket", Signer.open(tmp_path / "keys"))


def written(image: CustomerImage, folder: Path, companions: list[Companion]) -> Path:
    """The files of a package that start it, with a `docker` beside them that notes how it was called."""
    folder.mkdir()
    verifier = image.signer.verifier
    (folder / "docker-compose.yml").write_text(compose(image.spec, verifier, companions))
    for name in ("start.sh", "neo4j-import.sh"):
        (folder / name).write_text(delivery(name, image.spec, image.built, verifier, companions))
        (folder / name).chmod(0o755)
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    return folder


def tried(folder: Path) -> subprocess.CompletedProcess[str]:
    """What came of `start.sh`."""
    env = {"PATH": f"{folder}:/usr/bin:/bin"}
    return subprocess.run(["./start.sh"], cwd=folder, env=env, capture_output=True, text=True, check=False)


def start(folder: Path) -> list[str]:
    """How `start.sh` called docker."""
    (folder / "asked").unlink(missing_ok=True)
    done = tried(folder)
    assert done.returncode == 0, done.stderr
    return (folder / "asked").read_text().splitlines()


def test_a_newer_deliverys_folder_makes_no_second_key_while_the_older_one_has_it(
    image: CustomerImage, tmp_path: Path
) -> None:
    older, newer = written(image, tmp_path / "Müller & Söhne", []), written(image, tmp_path / "newer", [])
    start(older)
    (newer / "started-in").write_text(f"{older}\n")
    refused = tried(newer)
    assert (refused.returncode, (newer / ".env").exists()) == (1, False)
    assert f"cp '{older}/.env' ." in refused.stderr
    shutil.copy(older / ".env", newer / ".env")
    start(newer)
    assert (newer / ".env").read_text() == (older / ".env").read_text()
    (older / "started-in").write_text(f"{older}\n")
    (older / ".env").write_text("INSTANCE_PORT=9400\n")  # the line of the key was deleted, for a new one
    start(older)
    (newer / "started-in").write_text(f"{tmp_path}/removed\n")  # with its key
    (newer / ".env").unlink()
    start(newer)


@pytest.mark.parametrize(
    ("told", "limits"), [("2 true", "2 2"), ("1 true", "1 1"), ("1 false", "0 0"), ("16 false", "0 0"), ("", "2 2")]
)
def test_where_docker_cannot_limit_to_two_processors_less_is_asked_for(
    image: CustomerImage, tmp_path: Path, told: str, limits: str
) -> None:
    folder = written(image, tmp_path / "made", ["neo4j"])
    (folder / "info").write_text(told)
    assert f"limit {limits}" in start(folder)
    with (folder / ".env").open("a") as env:
        env.write("INSTANCE_CPUS=0.5\n")
    assert f"limit 2 {limits[-1]}" in start(folder), "what is in .env is compose's to read"


def test_what_did_not_start_says_what_to_do(image: CustomerImage, tmp_path: Path) -> None:
    folder = written(image, tmp_path / "made", [])
    (folder / "port-in-use").touch()
    refused = tried(folder)
    assert (refused.returncode, "INSTANCE_PORT=9400" in refused.stderr, "Ready" in refused.stdout) == (1, True, False)


def test_the_check_needs_no_right_to_write_into_the_folder(image: CustomerImage) -> None:
    made = asyncio.run(package_delivery(image.bucket, image.spec.tag, image.spec, image.signer))
    with tempfile.TemporaryDirectory() as place:  # pytest's own are closed to other users, and root may write anywhere
        folder, bin_ = Path(place, "delivery"), Path(place, "bin")
        shutil.copytree(made.location, folder)
        bin_.mkdir()
        (bin_ / "docker").write_text(f"#!/bin/sh\necho {image.built.image_id}\n")
        (bin_ / "docker").chmod(0o755)
        folder.chmod(0o555)
        Path(place).chmod(0o755)
        before = sorted(path.name for path in folder.iterdir())
        done = subprocess.run(
            ["./verify.sh"], cwd=folder, env={"PATH": f"{bin_}:/usr/bin:/bin"}, capture_output=True, text=True,
            check=False, user=65534 if os.geteuid() == 0 else None,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Verified: " in done.stdout
        assert sorted(path.name for path in folder.iterdir()) == before


def test_only_what_an_instance_talks_to_is_offered(image: CustomerImage) -> None:
    assert get_args(Companion) == ("neo4j",)
    alone = yaml.safe_load(compose(image.spec, image.signer.verifier))
    assert list(alone["services"]) == ["instance"]
    assert alone["services"]["instance"]["environment"]["NEO4J_URL"] == "${NEO4J_URL:-}"


@pytest.mark.parametrize("there", [None, "sha256:" + "0" * 64, "its own"])
def test_the_image_is_loaded_unless_docker_has_this_build_of_the_tag(
    image: CustomerImage, tmp_path: Path, there: str | None
) -> None:
    folder = written(image, tmp_path / "made", [])
    if there is not None:
        (folder / "image-id").write_text(image.built.image_id if there == "its own" else there)
    assert ("load -i image.tar" in start(folder)) == (there != "its own")


def test_settings_of_the_customers_own_keep_their_line_and_the_key_is_read_by_its_owner_alone(
    image: CustomerImage, tmp_path: Path
) -> None:
    folder = written(image, tmp_path / "made", [])
    (folder / ".env").write_text("INSTANCE_PORT=9400")
    (folder / ".env").chmod(0o644)
    start(folder)
    port, key = (folder / ".env").read_text().splitlines()
    assert (port, len(key)) == ("INSTANCE_PORT=9400", len("INSTANCE_ACCESS_KEY=") + 64)
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600


async def test_a_neo4j_for_an_image_without_a_graph_is_refused(image: CustomerImage) -> None:
    with pytest.raises(InvalidInput, match="no graph"):
        await package_delivery(image.bucket, image.spec.tag, image.spec, image.signer, companions=["neo4j"])
    assert not (image.bucket / "delivery" / image.spec.tag).exists()


def test_the_first_start_makes_a_password_and_loads_the_graph_once_for_each_dataset(
    image: CustomerImage, tmp_path: Path
) -> None:
    folder = written(image, tmp_path / "made", ["neo4j"])
    first = start(folder)
    loads = [line for line in first if "neo4j-admin" in line]
    assert len(loads) == 1
    assert loads[0].startswith("compose run --rm --no-deps -T -v ")
    assert "--nodes=neo4j-dataset.csv" in loads[0]
    assert first.index("compose stop neo4j") < first.index(loads[0]) < first.index("compose up -d --wait")
    env = dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    assert env["NEO4J_URL"] == "bolt://neo4j:7687"
    assert len(env["NEO4J_PASSWORD"]) == len(env["INSTANCE_ACCESS_KEY"]) == 64
    assert env["NEO4J_PASSWORD"] != env["INSTANCE_ACCESS_KEY"]
    assert env["NEO4J_PASSWORD"] not in "\n".join(first)
    assert not [line for line in start(folder) if "neo4j-admin" in line]
    assert dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines()) == env
    shutil.rmtree(tmp_path / "graph")  # the volume was removed, or left behind on another machine
    assert [line for line in start(folder) if "neo4j-admin" in line]
    plain = written(image, tmp_path / "plain", [])
    assert not [line for line in start(plain) if "neo4j" in line]
    assert "NEO4J" not in (plain / ".env").read_text()


def test_back_to_an_older_delivery_loads_its_graph_again_whichever_was_started_between(
    image: CustomerImage, tmp_path: Path
) -> None:
    older = written(image, tmp_path / "older", ["neo4j"])
    spec = image.spec.model_copy(update={"dataset_digest": "sha256:" + "0" * 64})
    newer = written(replace(image, spec=spec), tmp_path / "newer", ["neo4j"])
    for folder in (older, newer, older):
        start(folder)
        (newer / ".env").write_text((older / ".env").read_text())
        assert (tmp_path / "graph" / "nodes").read_text() == f"{folder}\n"
    (newer / "no-room").touch()
    assert tried(newer).returncode != 0
    assert [line for line in start(older) if "neo4j-admin" in line], "what a failed import leaves is no graph"


def test_a_neo4j_of_ones_own_is_left_alone(image: CustomerImage, tmp_path: Path) -> None:
    folder = written(image, tmp_path / "made", ["neo4j"])
    (folder / ".env").write_text("NEO4J_URL=neo4j+s://graph.example:7687\nNEO4J_PASSWORD=own\n")
    assert not [line for line in start(folder) if "neo4j" in line]


def test_compose_reads_the_file_with_volumes_limits_and_a_health_check(image: CustomerImage, tmp_path: Path) -> None:
    found = shutil.which("docker")
    if found is None or subprocess.run([found, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("the docker command line or its compose plugin is not installed")
    folder = written(image, tmp_path / "made", ["neo4j"])
    start(folder)

    def config(*arguments: str) -> dict[str, Any]:
        command = [str(found), "compose", *arguments, "config", "--format", "json"]
        env = {key: value for key, value in os.environ.items() if key != "COMPOSE_PROFILES"}
        return json.loads(subprocess.run(command, cwd=folder, env=env, capture_output=True, check=True).stdout)

    services = config()["services"]
    neo4j = services["neo4j"]
    assert neo4j["healthcheck"]["retries"] == 12
    assert int(neo4j["mem_limit"]) == 2 * 2**30
    assert (neo4j["volumes"][0]["source"], neo4j["volumes"][0]["target"]) == ("graph", "/data")
    assert "ports" not in neo4j
    password = services["instance"]["environment"]["NEO4J_PASSWORD"]
    assert neo4j["environment"]["NEO4J_AUTH"] == f"neo4j/{password}"
    (folder / ".env").write_text("INSTANCE_ACCESS_KEY=key\nNEO4J_PASSWORD=own\n")
    assert list(config()["services"]) == ["instance"]
