import { useQueries, useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { workflowQuery, workflowsQuery } from "@/api/queries";
import type { Graph, WorkflowSummary } from "@/api/types";
import { useOverview } from "@/api/useOverview";
import { Problem } from "@/app/errors";
import { isTyping } from "@/app/Frame";
import { Icon } from "@/design/icons";
import { Prose } from "@/design/Prose";
import { RunStatusText } from "@/design/status";
import { TrackDrawing } from "@/design/TrackDrawing";
import { useTitle } from "@/design/useTitle";
import { Bars } from "@/features/runs/RunsPage";
import { RunDialog } from "@/features/workbench/RunDialog";
import { rowSentence } from "@/rules/banner";
import { exact, moment } from "@/rules/time";
import { FirstRun } from "./FirstRun";
import "./workflows.css";

export function WorkflowsPage() {
  useTitle("Workflows");
  useOverview();
  const [text, setText] = useState("");
  const workflows = useQuery({ ...workflowsQuery(text), placeholderData: (before) => before });
  const rows = workflows.data ?? [];
  const [running, setRunning] = useState<string | null>(null);
  const none = workflows.isSuccess && rows.length === 0 && text === "";
  const fresh = workflows.isSuccess && text === "" && rows.length > 0 && rows.every((one) => one.last_run === null);
  return (
    <>
      <header className="sub">
        <h1 className="title">Workflows</h1>
        {rows.length > 0 && <span className="i3 num t12 desk">{rows.length}</span>}
        <span className="sp" />
        {!none && (
          <label className="find desk">
            <Icon name="search" size={14} />
            <input
              data-search
              value={text}
              onChange={(event) => setText(event.target.value)}
              placeholder="Search workflows"
              aria-label="Search workflows"
            />
            <kbd>/</kbd>
          </label>
        )}
        <Link to="/new" className={none || fresh ? "btn" : "btn pri"}>
          <Icon name="plus" size={14} />
          New workflow
        </Link>
      </header>
      {workflows.error && rows.length === 0 ? (
        <div className="middle">
          <Problem error={workflows.error} onRetry={() => void workflows.refetch()} />
        </div>
      ) : none ? (
        <FirstRun what="workflows" />
      ) : fresh ? (
        <FirstRun what="runs" />
      ) : (
        <List rows={rows} loading={workflows.isLoading} onRun={setRunning} />
      )}
      {running !== null && <RunDialog name={running} onClose={() => setRunning(null)} />}
    </>
  );
}

function List({ rows, loading, onRun }: { rows: WorkflowSummary[]; loading: boolean; onRun: (name: string) => void }) {
  const navigate = useNavigate();
  const [current, setCurrent] = useState(-1);
  const graphs = useQueries({
    queries: rows.slice(0, 50).map((one) => ({ ...workflowQuery(one.name), staleTime: 60_000 })),
  });
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (isTyping(event.target) || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
      if (event.key === "j") setCurrent(Math.min(rows.length - 1, current + 1));
      else if (event.key === "k") setCurrent(Math.max(0, current - 1));
      else if (event.key === "Enter" && event.target === document.body) {
        const one = rows[current];
        if (one) void navigate({ to: "/workflows/$name", params: { name: one.name } });
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [rows, current, navigate]);
  return (
    <div className="wf-list scroll">
      {loading && <Bars rows={3} />}
      {!loading && rows.length === 0 && <p className="empty">No workflow has this in its name.</p>}
      <ul className="wf-grid" aria-label="Workflows">
        {rows.map((one, i) => (
          <Card
            key={one.name}
            one={one}
            graph={graphs[i]?.data?.graph ?? null}
            on={i === current}
            onRun={() => onRun(one.name)}
          />
        ))}
      </ul>
    </div>
  );
}

function Card({
  one,
  graph,
  on,
  onRun,
}: {
  one: WorkflowSummary;
  graph: Graph | null;
  on: boolean;
  onRun: () => void;
}) {
  const last = one.last_run;
  return (
    <li className={on ? "ex on" : "ex"}>
      <Link to="/workflows/$name" params={{ name: one.name }} className="gr plain" tabIndex={-1} aria-hidden="true">
        {graph ? <TrackDrawing graph={graph} /> : <span className="gr-empty" />}
      </Link>
      <h2 className="row">
        <Link to="/workflows/$name" params={{ name: one.name }} className="plain cut sp">
          {one.name}
        </Link>
        <span className="t12 i3 regular nw">version {one.version}</span>
      </h2>
      <p className="t12 i2 ex-what two-lines">
        <Prose text={one.description || (graph ? `${graph.nodes.length} nodes` : "")} />
      </p>
      <div className="row ex-last t12">
        {last ? (
          <>
            <RunStatusText status={last.status} size={14} />
            <Link to="/runs/$id" params={{ id: last.id }} className="i2 cut plain">
              <Prose text={rowSentence(last).text} />
            </Link>
            <span className="sp" />
            <span className="num i3 nw" title={exact(last.created_at)}>
              {moment(last.created_at)}
            </span>
          </>
        ) : (
          <span className="i3">has not run yet</span>
        )}
      </div>
      <div className="row">
        <button type="button" className="btn sm" onClick={onRun}>
          <Icon name="play" size={12} />
          Run…
        </button>
        <Link to="/workflows/$name" params={{ name: one.name }} className="t12 i2">
          Open
        </Link>
        <Link to="/runs" search={{ workflow: one.name }} className="t12 i2">
          Runs
        </Link>
      </div>
    </li>
  );
}
