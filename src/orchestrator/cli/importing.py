"""`orchestrator import`: other tools' workflows as documents. No store is opened, nothing of the export is run."""

import json
from pathlib import Path

from orchestrator.bootstrap import load_registry
from orchestrator.cli import console, log, quickly
from orchestrator.cli.exits import Exit, Refused
from orchestrator.cli.n8n.workflow import Finding, import_workflow
from orchestrator.config import Settings
from orchestrator.engine.service import documents

KINDS = {
    "class": "no class",
    "expression": "not mapped",
    "left_out": "left out",
    "difference": "differs",
}


def import_n8n(file: str, settings: Settings, *, output: Path | None, as_json: bool) -> Exit:
    """Write the document, and list on stderr what isn't mapped.

    Raises:
        Refused: the file can't be read, or isn't JSON. UsageError: it isn't an export.
    """
    log.configure(settings)
    known = load_registry(settings).declarations()
    quickly.loaded()
    try:
        exported = json.loads(console.read_bytes(file, what="FILE"))
    except (ValueError, RecursionError) as error:
        raise Refused(f"FILE: {file} is no JSON: {error}", exit=Exit.USAGE, code="not_json") from None
    imported = import_workflow(exported)
    text = json.dumps(imported.document, indent=2, ensure_ascii=False) + "\n"
    report = documents.validate(text.encode("utf-8", "surrogatepass"), known)
    if output is not None:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise Refused(
                f"--output: {output} can't be written: {error.strerror}", exit=Exit.USAGE, code="unwritable"
            ) from None
    if as_json:
        findings = [finding._asdict() for finding in imported.findings]
        console.say_json({"document": imported.document, "findings": findings, **report})
    else:
        if output is None:
            console.say(text.rstrip("\n"))
        _say(imported.findings, faults=len(report["faults"]), nodes=len(imported.document["nodes"]))
        known_places = {f"/nodes/{finding.id}/" for finding in imported.findings if finding.blocks}
        others = [f for f in report["faults"] if not any(f["pointer"].startswith(p) for p in known_places)]
        for line in console.fault_lines(others):
            console.tell(f"  {line}")
    return Exit.OK if report["valid"] else Exit.FAILED


def _say(findings: list[Finding], *, faults: int, nodes: int) -> None:
    blocking = sum(finding.blocks for finding in findings)
    verdict = "it can be saved as it is" if not faults else f"{faults} faults keep it from being saved"
    console.tell(f"{nodes} nodes, {blocking} things not mapped; {verdict}")
    for finding in findings:
        where = f"{finding.node} (`{finding.id}`)" if finding.id else finding.node
        console.tell(console.clean(f"  {KINDS[finding.kind]}: {where}: {finding.why}; {finding.cure}"))
