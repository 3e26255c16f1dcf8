# SPDX-FileCopyrightText: The Gatefleet Authors
# SPDX-License-Identifier: Apache-2.0
"""The charts under the real Helm: they lint, they render, and bad values are refused by the field that is wrong."""
from __future__ import annotations

import json
import re

from runner.process import Done, run as command
from runner.report import ROOT, Result

CHARTS = ("gatefleet", "gatefleet-crds")
DIGEST = "sha256:" + "0" * 64

# Values that must render, and what the output then says.
GOOD: dict[str, tuple[dict[str, object], list[str]]] = {
    "defaults": ({}, ["--roles=hub\n", "replicas: 2\n", "kind: IngressClass", "kind: PodDisruptionBudget"]),
    "both roles": ({"roles": ["hub", "relay"]}, ["--roles=hub,relay\n", "containerPort: 15010", "port: 15012"]),
    "digest over tag": ({"image": {"tag": "1.0", "digest": DIGEST}}, [f"--operator-image=registry.example/gatefleet/gatefleet@{DIGEST}"]),
    "plain HTTP registries": ({"plainHttpRegistries": ["a:5000", "b"]}, ["--plain-http-registries=a:5000,b\n"]),
    "a GatewayClass": (
        {"gatewayClass": {"create": True, "fleet": {"namespace": "gateways", "name": "edge"}}},
        ["kind: GatewayClass", "controllerName: gatefleet.dev/gateway-controller", "kind: GatewayFleet"],
    ),
    "places and Secrets": (
        {
            "nodeSelector": {"tier": "infra"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "imagePullSecrets": ["pull"],
            "podAnnotations": {"a": "b"},
            "commonLabels": {"team": "edge"},
            "serviceAccount": {"annotations": {"role": "x"}},
        },
        ["tier: infra", "operator: Exists", "nodeAffinity: {}", "- name: pull", "a: b", "team: edge", "role: x"],
    ),
}
# Values that must be refused, and what the refusal names.
BAD: dict[str, tuple[dict[str, object], str]] = {
    "no replicas": ({"replicas": 0}, "/replicas"),
    "an unknown role": ({"roles": ["boss"]}, "/roles/0"),
    "no roles": ({"roles": []}, "/roles"),
    "a digest of another kind": ({"image": {"digest": "md5:1"}}, "/image/digest"),
    "an empty repository": ({"gateway": {"image": {"repository": ""}}}, "/gateway/image/repository"),
    "a registry with a path": ({"plainHttpRegistries": ["a/b"]}, "/plainHttpRegistries/0"),
    "a misspelt value": ({"replica": 1}, "replica"),
    "an unknown log format": ({"logging": {"format": "xml"}}, "/logging/format"),
    "a budget that is no number": ({"podDisruptionBudget": {"maxUnavailable": "some"}}, "/podDisruptionBudget/maxUnavailable"),
    "a class without a fleet": ({"gatewayClass": {"create": True}}, "gatewayClass.fleet.namespace"),
}
# What Pod Security's level `restricted` asks of every container, as rendered.
RESTRICTED = ["runAsNonRoot: true", "type: RuntimeDefault", "allowPrivilegeEscalation: false", "drop: [ALL]", "readOnlyRootFilesystem: true"]


def check(result: Result) -> None:
    """Lints and renders both charts."""
    done = command("helm-tool", ["tests/setup/tool", "helm"], 2400)
    if not result.check("helm is there", done.good, "" if done.good else done.tail(5)):
        return
    helm = done.output.rstrip().splitlines()[-1]
    for chart in CHARTS:
        done = command(f"helm-lint-{chart}", [helm, "lint", "--strict", f"charts/{chart}"], 60)
        result.check(f"helm lint {chart}", done.good, "" if done.good else done.tail())
    for name, (values, expected) in GOOD.items():
        done = render(helm, "gatefleet", values)
        missing = [text for text in [*expected, *RESTRICTED] if text not in done.output]
        result.check(f"chart renders with {name}", done.good and not missing, f"missing {missing}" if missing else "")
    for name, (values, expected) in BAD.items():
        done = render(helm, "gatefleet", values)
        refused = not done.good and expected in done.output
        result.check(f"chart refuses {name}", refused, "" if refused else done.tail(5))
    kinds(result, helm)


def kinds(result: Result, helm: str) -> None:
    """The kinds' chart holds what is generated, kept or not as asked."""
    names = sorted(path.name for path in (ROOT / "crds" / "generated").glob("*.yaml"))
    kept, loose = (render(helm, "gatefleet-crds", {"keep": keep}) for keep in (True, False))
    for done, count in ((kept, len(names)), (loose, 0)):
        found = len(re.findall("helm.sh/resource-policy: keep", done.output))
        result.check(f"{count} of {len(names)} kinds are kept", done.good and found == count, f"found {found}" if found != count else "")
    plain = [line for line in loose.output.splitlines() if re.match(r"  name: \S+\.gatefleet\.dev$", line)]
    result.check("the chart holds every kind", len(plain) == len(names) > 0, f"{len(plain)} of {len(names)}")


def render(helm: str, chart: str, values: dict[str, object]) -> Done:
    """`helm template` with some values."""
    line = [helm, "template", "gatefleet", f"charts/{chart}", "--namespace", "gatefleet-system", "--values", "-"]
    return command(f"helm-template-{chart}", line, 60, stdin=json.dumps(values))
