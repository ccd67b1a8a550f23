"""Planted secrets appear nowhere: not in journal, API, streams, logs or the bytes of the store."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.faults.processes import journal, save, server, start, until_over

pytestmark = [pytest.mark.faults, pytest.mark.slow]

PLAIN = "hunter2-and-more"
ODD = 'p@ss/"wörd"\\ +%&=?'
LONG = "-----BEGIN KEY-----\n" + "\n".join("k3y" * 20 + str(i) for i in range(4)) + "\n-----END KEY-----"
SECRETS = {"PLAIN": PLAIN, "ODD": ODD, "LONG": LONG}


def forms(secret: str) -> set[bytes]:
    """The ways in which it may be written."""
    raw = secret.encode()
    texts = {secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1]}
    texts |= {json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    texts |= {base64.b64encode(raw).decode().rstrip("="), base64.urlsafe_b64encode(raw).decode().rstrip("=")}
    return {text.encode() for text in texts}


def document(name: str, how: str) -> dict[str, Any]:
    """A workflow that lets a secret into everything that is kept, or that says why it failed."""
    secret = f"secrets.{name}"
    whole = f"{{{{ {secret} }}}}"
    telling: dict[str, Any] = {
        "class": "TellingNode",
        "params": {"secret": whole, "how": how},
        "retry": {"max_attempts": 2, "initial": "10ms"},
        "next_node": "route",
    }
    return {
        "name": f"{how} {name}",
        "start_at": "tell",
        "vars": {"kept": None, "in_list": None},
        "output": {"told": "{{ nodes.tell }}", "kept": "{{ vars.kept }}"},
        "nodes": {
            "tell": telling,
            "route": {
                "class": "SwitchNode",
                "params": {"cases": [{"name": "end", "when": f"{{{{ {secret} | length > 3 }}}}"}]},
                "next_node": {"end": "set", "*": "set"},
            },
            "set": {
                "class": "SetNode",
                "params": {"values": {"again": f"x {whole} y", "list": [whole]}},
                "next_node": "stop",
            },
            "stop": {
                "class": "StopNode",
                "params": {"succeed": False, "message": f"with {whole} it stops"},
            },
        },
    }


def everything_about(client: httpx2.Client, run: str) -> bytes:
    """All that the API has on a run, its stream too."""
    found = b""
    tasks = client.get(f"/runs/{run}/tasks").json()["items"]
    paths = ["", "/tasks", "/journal", "/explain", *(f"/tasks/{task['path']}" for task in tasks)]
    last = journal(client, run)[-1]["seq"]
    for path in [*paths, *(f"/state?seq={seq}" for seq in range(2, last + 1))]:
        found += client.get(f"/runs/{run}{path}").content
    with client.stream("GET", f"/runs/{run}/events") as stream:
        found += b"\n".join(line.encode() for line in stream.iter_lines())
    return found


@pytest.mark.parametrize("how", ["return", "raise", "raise in step"])
def test_a_secret_that_a_node_lets_out_is_kept_nowhere(tmp_path: Path, how: str) -> None:
    environment = {f"ORCHESTRATOR_SECRET_{name}": value for name, value in SECRETS.items()}
    live = b""
    with server(tmp_path, "dev", "--no-examples", "--log-level", "debug", environment=environment) as found:
        with found.client() as client:
            for name in SECRETS:
                save(client, document(name, how))
                run = start(client, f"{how} {name}")
                # While it runs: live notices of logs and progress.
                with client.stream("GET", f"/runs/{run}/events") as stream:
                    live += b"\n".join(line.encode() for line in stream.iter_lines())
                over = until_over(client, run)
                assert over["status"] == "failed"
                shown = everything_about(client, run)
                assert f"[secret {name}]".encode() in shown, "it was never let out: this test proves nothing"
                live += shown
            live += client.get("/runs", params={"limit": 100}).content + client.get("/system").content
        assert found.process is not None
        found.kill()
        places = {"the API and its streams": live, "the log": found.log.encode(errors="replace")}
        for path in tmp_path.rglob("*"):
            if path.is_file() and path.name != "server.log":
                places[path.name] = path.read_bytes()
    assert "store.db" in places
    for name, secret in SECRETS.items():
        for form in forms(secret):
            for place, content in places.items():
                at = content.find(form)
                assert at < 0, f"{name} as {form!r} in {place}: {content[max(0, at - 200) : at + 50]!r}"
