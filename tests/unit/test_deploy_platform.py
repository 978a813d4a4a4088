"""The platform's own container: its compose files and chart name real settings and ports, and run it without rights."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.postgres.launcher import OPTIONS
from shared.settings import PREFIX, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose"
PORTS = {
    Settings.model_fields[f"{name}_port"].default
    for name in ("orchestrator", "marketplace", "embedding", "vision", "cradle")
}
VALUES: dict[str, Any] = {
    "image": {"repository": "registry.example/0711/platform", "tag": "0.1.0"},
    "urls": {"marketplace": "https://marketplace.example"},
}


def merged(*overlays: str, **given: str) -> subprocess.CompletedProcess[str]:
    """What compose makes of the files; skips where it is not installed."""
    there = shutil.which("docker") and subprocess.run(
        ["docker", "compose", "version"], check=False, capture_output=True
    )
    if not there or there.returncode:
        pytest.skip("Docker's compose plugin is not here (.ci/engine brings it)")
    files = [argument for name in ("docker-compose", *overlays) for argument in ("-f", f"{name}.yml")]
    command = ["docker", "compose", *files, "config", "--format", "json"]
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(COMPOSE), **given}
    return subprocess.run(command, check=False, cwd=COMPOSE, env=env, capture_output=True, text=True)


def rendered(tmp_path: Path, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The chart's objects by kind, made by Helm's own library; skips where it is not installed."""
    helm = pytest.importorskip("helm_python", reason="Helm's library is not here: pip install helm-python-sdk")
    with tarfile.open(tmp_path / "chart.tgz", "w:gz") as tar:
        tar.add(DEPLOY / "helm" / "platform", "platform")
    with helm.Chart.load(str(tmp_path / "chart.tgz")) as chart:
        chart.validate_schema(values)
        found = chart.render(values, name="prod", namespace="default")
    texts = [text for name, text in found.items() if name.endswith(".yaml")]
    return {each["kind"]: each for text in texts for each in yaml.safe_load_all(text) if each}


def test_every_setting_that_is_named_exists() -> None:
    files = [path for path in DEPLOY.rglob("*") if path.is_file()]
    named = {name for path in files for name in re.findall(rf"{PREFIX}[A-Z0-9_]*[A-Z0-9]", path.read_text())}
    assert {"P0711_HOME", "P0711_POSTGRES_URL", "P0711_EMBEDDING_DEVICE"} <= named
    assert named <= {PREFIX + name.upper() for name in Settings.model_fields}


def test_what_is_built_sees_the_platforms_code_and_no_secret_or_source_beside_it() -> None:
    lines = (DEPLOY.parent / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", (DEPLOY / "Dockerfile").read_text(), re.M)
    assert let_in == {name.removesuffix("*") for names in copied for name in names.split()}


def test_the_container_shows_the_servers_ports() -> None:
    (exposed,) = re.findall(r"^EXPOSE (.*)$", (DEPLOY / "Dockerfile").read_text(), re.M)
    assert {int(port) for port in exposed.split()} == PORTS


def test_compose_runs_the_platform_without_rights_and_shows_it_to_this_machine_alone() -> None:
    service = json.loads(merged().stdout)["services"]["platform"]
    assert (service["user"], service["read_only"], service["cap_drop"]) == ("65532:65532", True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert {int(port["published"]) for port in service["ports"]} == PORTS
    assert {port["host_ip"] for port in service["ports"]} == {"127.0.0.1"}
    sources = {each["target"]: each.get("read_only") for each in service["volumes"]}
    assert sources == {"/var/lib/0711": None, "/sources": True}


def test_compose_has_a_postgres_a_gpu_and_monitoring_and_no_default_password() -> None:
    overlays = ("postgres", "gpu", "monitoring")
    passwords = {"POSTGRES_PASSWORD": "made-up", "GRAFANA_PASSWORD": "made-up-too"}
    for missing in passwords:
        refused = merged(*overlays, **{name: text for name, text in passwords.items() if name != missing})
        assert refused.returncode != 0
        assert "no password yet" in refused.stderr
    made = json.loads(merged(*overlays, **passwords).stdout)["services"]
    assert set(made) == {"platform", "postgres", "prometheus", "grafana"}
    assert made["platform"]["environment"]["P0711_POSTGRES_URL"].startswith("postgresql://postgres:made-up@postgres:")
    assert made["platform"]["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"
    assert made["prometheus"]["network_mode"] == "service:platform"  # metrics are given to loopback alone


@pytest.mark.requirement("Z-01")
def test_the_postgres_of_compose_logs_no_value_as_the_embedded_one_does_not() -> None:
    command = yaml.safe_load((COMPOSE / "postgres.yml").read_text())["services"]["postgres"]["command"]
    told = {f"--{name}={value}" for name, value in OPTIONS.items() if name.startswith("log_")}
    assert len(told) > 5
    assert command[0] == "postgres"
    assert set(command[1:]) == told


def test_the_chart_runs_the_platform_without_rights_with_the_settings_that_it_is_given(tmp_path: Path) -> None:
    more = {"settings": {"P0711_S3_REGION": "eu-central-1"}, "secretSettings": "platform", "gpus": 1}
    made = rendered(tmp_path, {**VALUES, **more, "ingress": {"enabled": True, "host": "mcp.example"}})
    assert set(made) == {"StatefulSet", "Service", "Ingress"}
    pod = made["StatefulSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    settings = {each["name"]: each["value"] for each in container["env"]}
    assert settings["P0711_MARKETPLACE_URL"] == "https://marketplace.example"
    assert settings["P0711_CRADLE_URL"] == "http://prod:8003"
    assert made["Service"]["spec"]["publishNotReadyAddresses"]  # or the servers would not find each other at the start
    (mounted,) = [each["mountPath"] for each in container["volumeMounts"] if each["name"] == "home"]
    assert settings["P0711_HOME"].startswith(mounted + "/")  # the volume's root is not the platform's to change
    assert settings["P0711_S3_REGION"] == "eu-central-1"
    assert container["envFrom"] == [{"secretRef": {"name": "platform"}}]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {port["containerPort"] for port in container["ports"]} == PORTS
    assert {port["port"] for port in made["Service"]["spec"]["ports"]} == PORTS
    assert "Ingress" not in rendered(tmp_path, VALUES)


@pytest.mark.parametrize(
    "changed",
    [
        {"urls": {}},
        {"urls": {**VALUES["urls"], "cradle": 'https://c.example"\nx: y'}},
        {"image": {"repository": "x", "tag": "a b"}},
        {"settings": {"OTHER": "x"}},
        {"settings": {"P0711_MAX_BODY_BYTES": 33554432}},
        {"replicas": 2},
    ],
)
def test_the_chart_refuses_values_that_do_not_fit(tmp_path: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"does not match|required|additional|not allowed|missing|want boolean"):
        rendered(tmp_path, {**VALUES, **changed})
