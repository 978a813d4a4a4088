"""What `deploy/` scrapes, shows and alerts on is what the servers really export."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY

import servers.cradle.embedding.metrics  # each registers its metrics when it is imported
import servers.cradle.processing.metrics
import servers.marketplace.workers.worker
import servers.orchestrator.metrics  # noqa: F401
import shared.telemetry  # noqa: F401
from shared.errors import PlatformError
from shared.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((DEPLOY / "grafana" / "platform.json").read_text())
FROM_PROMETHEUS = {"up": {"job", "process"}}
FUNCTIONS = {"sum", "min", "max", "rate", "increase", "histogram_quantile", "topk", "by"}
LABELS_OF_ALL = {"job", "process", "instance"}


def exported() -> dict[str, set[str]]:
    """Series → its labels, of every metric that a server exports."""
    found = dict(FROM_PROMETHEUS)
    for metric in REGISTRY._collector_to_names:  # pyright: ignore[reportAttributeAccessIssue]
        labels = set(getattr(metric, "_labelnames", ()))
        for name in REGISTRY._collector_to_names[metric]:  # pyright: ignore[reportAttributeAccessIssue]
            found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return found


def expressions() -> list[str]:
    shown = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [rule["expr"] for rule in RULES] + shown


def names_in(expression: str) -> tuple[set[str], set[str]]:
    """The series and the labels that an expression names."""
    groups = re.findall(r"by \(([^)]*)\)", expression)
    selectors = re.findall(r"\{([^}]*)\}", expression)
    labels = {label.strip() for group in groups for label in group.split(",")}
    labels |= {label for selector in selectors for label in re.findall(r"(\w+)\s*[=!]", selector)}
    bare = re.sub(r"by \([^)]*\)|\{[^}]*\}|\[[^\]]*\]", " ", expression)
    return set(re.findall(r"[a-z_][a-z_0-9]*", bare)) - FUNCTIONS, labels


def test_the_names_are_read_out_of_an_expression() -> None:
    found = names_in('topk(3, sum by (a, le) (rate(x_bucket{b!="c"}[5m]))) > 0.5')
    assert found == ({"x_bucket"}, {"a", "le", "b"})


@pytest.mark.parametrize("expression", expressions())
def test_every_series_and_label_is_exported_by_a_server(expression: str) -> None:
    there, (series, labels) = exported(), names_in(expression)
    assert series
    assert series <= there.keys()
    assert labels <= set.union(*(there[name] for name in series)) | LABELS_OF_ALL


def test_what_an_alert_wants_to_see_rising_is_there_before_it_rises() -> None:
    """The first failure makes no increase where its series begins with it: nobody would be told."""
    watched = [found for rule in RULES for found in re.findall(r'increase\((\w+)\{(\w+)=~?"([\w|]+)"\}', rule["expr"])]
    assert {name for name, _, _ in watched} == {
        "jobs_total", "embedding_model_loads_total", "pages_unread_total", "workers_replaced_total"
    }  # fmt: skip
    samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
    for name, label, values in watched:
        there = {each.labels[label] for each in samples if each.name == name}
        assert set(values.split("|")) <= there, name


def test_no_alert_measures_a_tool_that_waits_for_its_caller() -> None:
    slow = next(rule for rule in RULES if rule["alert"] == "CallsSlow")
    waiting = {
        match.group(1)
        for path in (DEPLOY.parent / "servers").rglob("tools/*.py")
        for match in re.finditer(r"async def (\w+)\((?:(?!async def).)*?\bwait_s:", path.read_text(), re.DOTALL)
    }
    assert waiting
    assert waiting == set(re.findall(r'tool!="(\w+)"', slow["expr"]))


def test_the_codes_that_alerts_name_are_codes_of_errors() -> None:
    def below(kind: type[PlatformError]) -> set[str]:
        return {kind.code, *(code for each in kind.__subclasses__() for code in below(each))}

    named = {
        code for rule in RULES for found in re.findall(r'code=~?"([^"]*)"', rule["expr"]) for code in found.split("|")
    }
    assert named
    assert named <= below(PlatformError)


def test_one_target_for_each_process_at_its_default_port() -> None:
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = scraped["scrape_configs"]
    settings = Settings(_env_file=None)  # pyright: ignore[reportCallIssue]
    servers_: tuple = ("orchestrator", "marketplace", "cradle")
    assert {each["labels"]["process"]: each["targets"] for each in job["static_configs"]} == {
        name: [f"127.0.0.1:{settings.port(name)}"] for name in servers_
    }
    assert scraped["rule_files"] == ["rules.yml"]
    assert all(rule["annotations"]["summary"] for rule in RULES)
