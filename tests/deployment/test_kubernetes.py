"""deploy/kubernetes as kustomize builds it: valid, and as the Procfile, Settings and the servers have it."""

from __future__ import annotations

import base64
import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from deploy.local import procfile
from deploy.production import programs
from models.settings import Settings

FOLDER = procfile.ROOT / "deploy" / "kubernetes"
OVERLAYS = ("small", "production")
VERSION = "1.33"
#: Names that are not ours to read: Flower's own.
READ_ELSEWHERE = {"FLOWER_ADDRESS", "FLOWER_BASIC_AUTH"}
PROCESSES = {"api": "web", "sockets": "sockets", "worker": "worker", "beat": "beat", "flower": "flower"}

Object = dict[str, Any]


class Built:
    """The objects of an overlay."""

    def __init__(self, overlay: str, text: str) -> None:
        self.overlay = overlay
        self.objects: list[Object] = list(yaml.safe_load_all(text))

    def of(self, *kinds: str) -> dict[str, Object]:
        return {each["metadata"]["name"]: each for each in self.objects if each["kind"] in kinds}

    def one(self, kind: str, name: str) -> Object:
        """By name, less the hash of what was generated."""
        [found] = [each for key, each in self.of(kind).items() if re.fullmatch(rf"{name}(-[a-z0-9]{{10}})?", key)]
        return found

    def pods(self) -> dict[str, Object]:
        """Name → the spec of its pods, of everything that runs."""
        return {name: each["spec"]["template"]["spec"] for name, each in self.of("Deployment", "Job").items()}

    def containers(self) -> Iterator[tuple[str, Object]]:
        for name, pod in self.pods().items():
            for container in (*pod.get("initContainers", ()), *pod["containers"]):
                yield f"{name}/{container['name']}", container

    def settings(self) -> dict[str, str]:
        """What a pod of the API is given."""
        given = dict(self.one("ConfigMap", "settings")["data"])
        for name, value in self.one("Secret", "secrets")["data"].items():
            given[name] = base64.b64decode(value).decode()
        return given


@pytest.fixture(scope="module", params=OVERLAYS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    if programs.find("kubectl") is None:
        pytest.skip(f"kubectl builds the overlays: {programs.advice(['kubectl'])}")
    copy = tmp_path_factory.mktemp("kubernetes") / "kubernetes"
    shutil.copytree(FOLDER, copy)
    for example in copy.glob(f"overlays/{request.param}/*.env.example"):
        text = example.read_text("utf-8").replace(":KEY", ":" + secrets.token_hex(32)).replace("PASSWORD", "pw")
        example.with_suffix("").write_text(text, "utf-8")
    command = ["kubectl", "kustomize", copy / "overlays" / request.param]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return Built(request.param, made.stdout)


def names_of(selector: Object) -> set[str]:
    """The values of app.kubernetes.io/name that a selector takes."""
    key = "app.kubernetes.io/name"
    taken = {value for each in selector.get("matchExpressions", ()) if each["key"] == key for value in each["values"]}
    return taken | {value for name, value in selector.get("matchLabels", {}).items() if name == key}


def test_every_object_is_valid(built: Built) -> None:
    custom = jsonschema.Draft7Validator(json.loads((Path(__file__).parent / "custom_resources.json").read_text()))
    for each in built.objects:
        if "." in each["apiVersion"].partition("/")[0] and not each["apiVersion"].startswith("networking.k8s.io"):
            assert not [error.message for error in custom.iter_errors(each)], each["metadata"]["name"]
        else:
            kubernetes_validate.validate(each, VERSION, strict=True)


def test_the_pods_are_given_settings_that_there_are_and_that_hold(built: Built) -> None:
    given = built.settings()
    known = set(re.findall(r'"([A-Z][A-Z_]+)"', (procfile.ROOT / "models/settings.py").read_text("utf-8")))
    assert set(given) - READ_ELSEWHERE <= known
    settings = Settings.from_env({**given, "DATA_DIR": "/nonexistent"})
    assert settings.environment == "production"
    assert settings.inner_networks
    assert given["DATA_DIR"] == "/data"


def test_a_container_runs_a_command_of_the_procfile_and_listens_where_its_port_says(built: Built) -> None:
    settings = built.settings()
    ports = {"api": "PORT", "sockets": "SOCKETS_PORT", "flower": "FLOWER_PORT", "worker": "WORKER_METRICS_PORT"}
    assert set(built.pods()) == {*PROCESSES, "migrate"}
    assert set(PROCESSES.values()) == set(procfile.read())
    for name, process in PROCESSES.items():
        [container] = built.pods()[name]["containers"]
        assert container["command"] == ["python", "-m", "deploy.local.procfile", process]
        listening = [str(port["containerPort"]) for port in container.get("ports", ())]
        assert listening == ([settings[ports[name]]] if name in ports else [])
    assert built.pods()["migrate"]["containers"][0]["command"] == ["python", "-m", "migrations", "upgrade"]


def test_images_are_of_a_version_and_the_same_everywhere(built: Built) -> None:
    images = {container["image"] for _, container in built.containers()}
    assert len(images) == 1
    [image] = images
    assert re.fullmatch(r"registry\.example/scoreboard:\d+\.\d+\.\d+", image)


def test_no_pod_can_do_more_than_it_must(built: Built) -> None:
    for name, pod in built.pods().items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, "or a Service called flower sets FLOWER_PORT"
    for name, container in built.containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}, name
        assert set(container["resources"]["limits"]) == {"memory"}, name
    uid = re.search(r"--uid (\d+)", (procfile.ROOT / "Dockerfile").read_text("utf-8"))
    assert uid is not None
    assert {pod["securityContext"]["runAsUser"] for pod in built.pods().values()} == {int(uid[1])}


def test_what_is_referred_to_is_there(built: Built) -> None:
    there = {kind: built.of(kind) for kind in ("ConfigMap", "Secret", "Service", "ServiceAccount")}
    for name, container in built.containers():
        for source in container["envFrom"]:
            reference = source.get("configMapRef") or source["secretRef"]
            assert reference["name"] in there["ConfigMap"] | there["Secret"], name
        for variable in (each for each in container.get("env", ()) if "value" not in each):
            reference = variable["valueFrom"]["secretKeyRef"]
            assert reference["key"] in there["Secret"][reference["name"]]["data"], name
        volumes = {volume["name"] for volume in built.pods()[name.partition("/")[0]]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes, name
    for pod in built.pods().values():
        assert pod["serviceAccountName"] in there["ServiceAccount"]
    for path in built.one("Ingress", "scoreboard")["spec"]["rules"][0]["http"]["paths"]:
        backend = path["backend"]["service"]
        ports = there["Service"][backend["name"]]["spec"]["ports"]
        assert backend["port"]["name"] in {port["name"] for port in ports}
    assert {each["metadata"].get("namespace") for each in built.objects if each["kind"] != "Namespace"} == {
        "scoreboard"
    }


def test_selectors_find_their_pods(built: Built) -> None:
    deployments = built.of("Deployment")
    for name, each in deployments.items():
        assert each["spec"]["selector"]["matchLabels"] == each["spec"]["template"]["metadata"]["labels"], name
        for spread in each["spec"]["template"]["spec"].get("topologySpreadConstraints", ()):
            assert names_of(spread["labelSelector"]) == {name}
    for name, each in built.of("Service").items():
        assert each["spec"]["selector"] == deployments[name]["spec"]["selector"]["matchLabels"]
        ports = {port["name"] for port in built.pods()[name]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports
    for name, each in built.of("PodDisruptionBudget").items():
        assert names_of(each["spec"]["selector"]) == {name}
        assert each["spec"]["maxUnavailable"] == 1
    assert set(built.of("PodDisruptionBudget")) == set(deployments) - {"flower"}
    for each in built.of("PodMonitor").values():
        wanted = {endpoint["port"] for endpoint in each["spec"]["podMetricsEndpoints"]}
        for name in names_of(each["spec"]["selector"]):
            assert wanted <= {port["name"] for port in built.pods()[name]["containers"][0]["ports"]}


def test_a_store_that_is_away_takes_no_pod_out(built: Built) -> None:
    """/readyz of the API asks what all pods share; the sockets' own asks nobody."""
    pods = built.pods()
    for name in ("api", "flower"):
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            check = pods[name]["containers"][0].get(probe, {"httpGet": {"path": "/healthz"}})
            assert check["httpGet"]["path"] in ("/healthz", "/healthcheck"), name
    [sockets] = pods["sockets"]["containers"]
    assert sockets["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert sockets["readinessProbe"]["httpGet"]["path"] == "/readyz"
    for name in ("worker", "beat"):
        for probe in ("startupProbe", "livenessProbe"):
            check = pods[name]["containers"][0][probe]["exec"]["command"]
            assert check == ["python", "-m", "deploy.health", name]


def test_nobody_is_killed_before_they_have_finished(built: Built) -> None:
    conf = {"api": "web/api/gunicorn_conf.py", "sockets": "web/live/gunicorn_conf.py"}
    for name, path in conf.items():
        graceful = re.search(r"^graceful_timeout = (\d+)", (procfile.ROOT / path).read_text("utf-8"), re.MULTILINE)
        assert graceful is not None
        pod = built.pods()[name]
        kept = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
        assert kept >= 5
        assert pod["terminationGracePeriodSeconds"] >= kept + int(graceful[1]) + 2
    assert built.pods()["worker"]["terminationGracePeriodSeconds"] >= 15


def test_the_pods_wait_for_the_migration(built: Built) -> None:
    for name, pod in built.pods().items():
        waits = [container["command"][:4] for container in pod.get("initContainers", ())]
        assert waits == ([] if name in ("migrate", "flower") else [["python", "-m", "migrations", "wait"]]), name
    given = {each["name"]: each for each in built.pods()["migrate"]["containers"][0]["env"]}
    assert given["DATABASE_URL"]["valueFrom"]["secretKeyRef"]["name"].startswith("migrations-")
    assert given["DATABASE_POOLING"]["value"] == "none"
    pooled = ":6432/" in built.settings()["DATABASE_URL"]
    assert built.settings().get("DATABASE_POOLING", "none") == ("transaction" if pooled else "none")


def test_who_may_speak_to_whom(built: Built) -> None:
    policies = {name: each["spec"] for name, each in built.of("NetworkPolicy").items()}
    assert policies.pop("nobody") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert policies.pop("names")["podSelector"] == {}
    speaks: dict[str, set[int]] = {name: set() for name in built.pods()}
    heard: dict[str, set[str]] = {name: set() for name in built.pods()}
    for policy in policies.values():
        for name in names_of(policy["podSelector"]):
            for rule in policy.get("egress", ()):
                speaks[name] |= {port["port"] for port in rule["ports"]}
            for rule in policy.get("ingress", ()):
                heard[name] |= {
                    space for each in rule["from"] for space in each["namespaceSelector"]["matchLabels"].values()
                }
    postgres, redis, broker, outside = {5432, 6432}, {6379, 26379}, {5671, 5672, 6379}, {443, 9093}
    assert speaks == {
        "api": postgres | redis | broker | outside,
        "sockets": postgres | redis | broker | outside,
        "worker": postgres | redis | broker | outside,
        "beat": postgres | redis | broker,
        "flower": broker,
        "migrate": postgres,
    }
    assert {name for name, spaces in heard.items() if "ingress-nginx" in spaces} == {"api", "sockets"}
    assert heard["beat"] == heard["migrate"] == set()


def test_what_scales_is_the_autoscalers_and_asks_for_figures_that_there_are(built: Built) -> None:
    deployments = built.of("Deployment")
    scaled = {**built.of("HorizontalPodAutoscaler"), **built.of("ScaledObject")}
    assert set(scaled) == ({"api"} if built.overlay == "small" else {"api", "sockets", "worker"})
    for name, each in scaled.items():
        assert each["spec"]["scaleTargetRef"]["name"] == name
        assert "replicas" not in deployments[name]["spec"], "each apply would set it back"
    for name in set(deployments) - set(scaled):
        assert deployments[name]["spec"]["replicas"] >= 1
    documented = set(re.findall(r"`(\w+)`", (procfile.ROOT / "docs/operations.md").read_text("utf-8")))
    for each in built.of("ScaledObject").values():
        for trigger in each["spec"]["triggers"]:
            for metric in re.findall(r"\b((?:scoreboard|flask)_\w+)", trigger["metadata"].get("query", "")):
                assert metric in documented
    if built.overlay == "production":
        assert scaled["worker"]["spec"]["maxReplicaCount"] == int(built.settings()["SHARDS"])


def test_beat_has_one_in_reserve(built: Built) -> None:
    assert built.of("Deployment")["beat"]["spec"]["replicas"] == 2


def test_no_secret_is_in_a_file() -> None:
    for path in FOLDER.rglob("*"):
        if path.is_file() and path.suffix != ".env":
            assert not re.search(r"[0-9a-f]{32}|-----BEGIN", path.read_text("utf-8")), path
    ignored = (procfile.ROOT / ".gitignore").read_text("utf-8")
    assert "deploy/kubernetes/overlays/*/*.env\n" in ignored
    for first, second in pairwise(sorted(FOLDER.glob("overlays/*"))):
        assert {each.name for each in first.glob("*.example")} == {each.name for each in second.glob("*.example")}
