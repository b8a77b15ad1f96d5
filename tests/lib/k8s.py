# SPDX-License-Identifier: Apache-2.0
"""Checks Kubernetes manifests against the API's own models: unknown fields, wrong types, missing fields. Usage: k8s.py FILE...
Prints "KIND/NAME ok" or what is wrong; --extract KIND NAME KEY FILE prints an entry of a ConfigMap."""
import re
import sys

import yaml
from kubernetes import client

PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float)}


def check(value, kind, path):
    """A list of what is wrong with value, which should be of the model's type kind."""
    if kind.startswith("list["):
        if not isinstance(value, list):
            return [f"{path}: not a list"]
        return [e for i, v in enumerate(value) for e in check(v, kind[5:-1], f"{path}[{i}]")]
    if kind.startswith("dict("):
        inner = re.match(r"dict\(str, (.*)\)", kind).group(1)
        if not isinstance(value, dict):
            return [f"{path}: not an object"]
        return [e for k, v in value.items() for e in check(v, inner, f"{path}.{k}")]
    if kind == "object":
        return [] if isinstance(value, (int, str)) else [f"{path}: neither a number nor a string"]
    if kind in PLAIN:
        good = isinstance(value, PLAIN[kind]) and (kind == "bool" or not isinstance(value, bool))
        return [] if good else [f"{path}: {value!r} is not {kind}"]
    model = getattr(client, kind)
    if not isinstance(value, dict):
        return [f"{path}: not an object"]
    fields = {json: name for name, json in model.attribute_map.items()}
    wrong = [f"{path}.{k}: no such field of {kind}" for k in value if k not in fields]
    for k, v in value.items():
        if k in fields:
            wrong += check(v, model.openapi_types[fields[k]], f"{path}.{k}")
    try:
        model(**{fields[k]: v for k, v in value.items() if k in fields})
    except ValueError as e:
        wrong.append(f"{path}: {e}")
    return wrong


def documents(path):
    with open(path) as f:
        return [d for d in yaml.safe_load_all(f) if d]


def selftest():
    bad = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": 7}, "spec": {"containers": [{"zzz": "x", "image": "y"}], "hostPID": "yes"}}
    wrong = "\n".join(check(bad, "V1Pod", ""))
    for sin in ("metadata.name", "zzz", "`name`", "hostPID"):
        if sin not in wrong:
            sys.exit(f"the check does not see its canary {sin}: {wrong}")


def main():
    if sys.argv[1] == "--extract":
        kind, name, key, path = sys.argv[2:]
        print(next(d["data"][key] for d in documents(path) if d["kind"] == kind and d["metadata"]["name"] == name), end="")
        return
    selftest()
    bad = False
    for path in sys.argv[1:]:
        for d in documents(path):
            version = "".join(p.capitalize() for p in d["apiVersion"].split("/")[-1:])
            wrong = check(d, version + d["kind"], d["kind"])
            bad |= bool(wrong)
            print(f"{d['kind']}/{d['metadata']['name']}", "ok" if not wrong else "; ".join(wrong))
    sys.exit(bad)


main()
