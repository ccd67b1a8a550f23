import { useQueries, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { workflowQuery, workflowsQuery } from "@/api/queries";
import type { Graph, WorkflowSummary } from "@/api/types";
import { Icon } from "@/design/icons";
import { CopyButton } from "@/design/Json";
import { Prose } from "@/design/Prose";
import { TrackDrawing } from "@/design/TrackDrawing";
import { RunDialog } from "@/features/workbench/RunDialog";
import "./workflows.css";

const COMMAND = "orchestrator run examples/onboarding.json";

/** What a person sees first: what belongs here, what can be run now, and the one command. */
export function FirstRun({ what }: { what: "runs" | "workflows" }) {
  const workflows = useQuery(workflowsQuery()).data ?? [];
  const shown = workflows.slice(0, 3);
  const graphs = useQueries({ queries: shown.map((one) => workflowQuery(one.name)) });
  const [running, setRunning] = useState<string | null>(null);
  return (
    <div className="emp">
      <div className="emp-head">
        <svg width="72" height="40" viewBox="0 0 72 40" aria-hidden="true">
          <path className="way" d="M4 30H68" />
          <path className="way strong" d="M4 30H20C40 30 36 10 54 10H66M61 5l5 5-5 5" />
          <circle className="way-dot" cx="5" cy="30" r="4" />
        </svg>
        <h2>{what === "runs" ? "Nothing has run yet" : "There is no workflow yet"}</h2>
        <p className="i2">
          {shown.length > 0
            ? "Run one of the workflows. They need no keys and no other service."
            : "Write one in the editor: a name, where it starts, and its nodes."}
          <br />
          {shown.length > 0
            ? "Every run appears here, with each decision and its reason."
            : "Problems show as you type; saving makes a version that can be run."}
        </p>
      </div>
      {shown.length > 0 ? (
        <div className="exs">
          {shown.map((one, i) => (
            <Example
              key={one.name}
              workflow={one}
              graph={graphs[i]?.data?.graph ?? null}
              onRun={() => setRunning(one.name)}
            />
          ))}
        </div>
      ) : (
        <div className="exs">
          <Link to="/new" className="btn pri">
            <Icon name="plus" size={14} />
            Write a workflow
          </Link>
        </div>
      )}
      <div className="t12 i2 row emp-cmd">
        <span>Or from a terminal</span>
        <span className="mono cmd">
          {COMMAND}
          <CopyButton text={COMMAND} label="Copy the command" />
        </span>
      </div>
      {running !== null && <RunDialog name={running} onClose={() => setRunning(null)} />}
    </div>
  );
}

function Example({ workflow, graph, onRun }: { workflow: WorkflowSummary; graph: Graph | null; onRun: () => void }) {
  return (
    <article className="ex">
      <div className="gr">{graph ? <TrackDrawing graph={graph} /> : <div className="gr-empty" />}</div>
      <h3 className="b cut">{workflow.name}</h3>
      <p className="t12 i2 ex-what">
        <Prose
          text={
            workflow.description ||
            (graph ? `${graph.nodes.length} nodes, version ${workflow.version}.` : `Version ${workflow.version}.`)
          }
        />
      </p>
      <div className="row">
        <button type="button" className="btn sm" onClick={onRun}>
          <Icon name="play" size={12} />
          Run it…
        </button>
        <Link to="/workflows/$name" params={{ name: workflow.name }} className="t12 i2">
          Open
        </Link>
      </div>
    </article>
  );
}
