/** What one node of a run did: its decision, input, output, logs, attempts and settings. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type ReactNode, useMemo } from "react";
import { taskQuery } from "@/api/queries";
import type { GraphNode, NodeClass, RunError, Task, TaskDetail } from "@/api/types";
import { Problem } from "@/app/errors";
import { PANEL_TABS, type PanelTab } from "@/app/router";
import { Icon, type IconName, isIconName } from "@/design/icons";
import { CopyButton, JsonView } from "@/design/Json";
import { Prose } from "@/design/Prose";
import { StatusIcon, TaskStatusText } from "@/design/status";
import { useDrag } from "@/design/useDrag";
import { iconOf } from "@/rules/drawing";
import { containerOf, isItem, itemsWords, stateOf, type TaskState } from "@/rules/fold";
import { nameOf } from "@/rules/layout";
import { runLook, shortId } from "@/rules/status";
import { clock, duration, exact, localTimes, micros } from "@/rules/time";
import type { useRunActions } from "./actions";
import { DecisionView } from "./DecisionView";
import { ItemsView } from "./ItemsView";
import type { RunView } from "./useRunView";
import "./run.css";

const NAMES: Record<PanelTab, string> = {
  items: "Items",
  decision: "Decision",
  input: "Input",
  output: "Output",
  logs: "Logs",
  attempts: "Attempts",
  settings: "Settings",
};

type Props = {
  view: RunView;
  node: string;
  tab: PanelTab | undefined;
  onTab: (tab: PanelTab) => void;
  /** The task that is shown: a visit, or an item of one; null: the latest visit. */
  path: string | null;
  onPath: (path: string | null, tab?: PanelTab) => void;
  onClose: () => void;
  actions: ReturnType<typeof useRunActions>;
};

export function NodePanel({ view, node: id, tab, onTab, path, onPath, onClose, actions }: Props) {
  const { run, graph, fold, classes } = view;
  const { size, handle } = useDrag({ name: "panel", initial: 384, least: 300, most: 720, edge: "left" });
  const visits = useMemo(
    () => fold.order.flatMap((one) => (fold.tasks[one]?.node === id ? [fold.tasks[one]] : [])),
    [fold, id],
  );
  const item = path !== null && isItem(path) ? path : null;
  const wanted = item ? containerOf(item) : path;
  const visit = visits.find((one) => one.path === wanted) ?? visits.at(-1) ?? null;
  const listed = useItem(run?.id ?? null, item);
  const task = item ? (fold.openItems[item] ?? listed) : visit;
  const plan = view.plans.find((one) => one.graph.nodes.some((inside) => inside.id === id)) ?? null;
  const node = (plan?.graph ?? graph)?.nodes.find((one) => one.id === id) ?? null;
  const declared = classes.find((one) => one.name === node?.class || one.name === `${node?.class}Node`) ?? null;
  const decides = node?.decides || task?.decision !== null;
  const tabs = PANEL_TABS.filter((one) => {
    if (one === "items") return task?.items !== null && task?.items !== undefined;
    return one !== "decision" || (task ? decides : node?.decides);
  });
  const shown = tab && tabs.includes(tab) ? tab : defaultTab(task, Boolean(node?.decides));
  const icon = iconOf(declared?.icon, node?.class ?? "", isIconName) as IconName;
  return (
    <aside className="panel node-panel" style={{ width: size }} aria-label={`Node ${id}`}>
      {handle("Width of the panel")}
      <header className="panel-head">
        <span className={node?.decides ? "tile iris" : "tile"}>
          <Icon name={icon} />
        </span>
        <div className="sp">
          <h2 className="cut" title={id}>
            {id}
          </h2>
          <div className="t11 i3 cut">
            {node?.class ?? "not in this version"}
            {plan ? ` · laid by ${plan.path}` : ""}
            {task && task.attempt > 1 ? ` · attempt ${task.attempt}` : ""}
            {task?.items ? ` · ${itemsWords(task.items)} items` : ""}
          </div>
        </div>
        <CopyButton text={task?.path ?? id} label="Copy the path of the task" />
        <button type="button" className="btn ghost icon sm" onClick={onClose} aria-label="Close the panel">
          <Icon name="x" size={14} />
        </button>
      </header>
      {visits.length > 1 && (
        <label className="visit">
          <span className="t12 i2">Visit</span>
          <select
            className="in"
            value={visit?.path ?? ""}
            onChange={(event) => onPath(event.target.value === visits.at(-1)?.path ? null : event.target.value)}
          >
            {visits.length > VISITS_MAX && !visits.slice(-VISITS_MAX).includes(visit as TaskState) && visit && (
              <option value={visit.path}>{visit.path}</option>
            )}
            {visits.slice(-VISITS_MAX).map((one) => (
              <option key={one.path} value={one.path}>
                {one.path}
              </option>
            ))}
          </select>
          {visits.length > VISITS_MAX && <span className="t11 i3 nw">{`the last ${VISITS_MAX}`}</span>}
        </label>
      )}
      {item && (
        <div className="visit">
          <button type="button" className="btn xs" onClick={() => onPath(containerOf(item), "items")}>
            <Icon name="cl" size={12} />
            All items
          </button>
          <span className="mono t12 cut">{item}</span>
          {task && <TaskStatusText status={task.status} />}
        </div>
      )}
      <div className="tabs panel-tabs" role="tablist" aria-label={`About ${id}`}>
        {tabs.map((one) => (
          <button
            type="button"
            role="tab"
            key={one}
            aria-selected={one === shown}
            className={one === shown ? "on" : ""}
            onClick={() => onTab(one)}
          >
            {NAMES[one]}
          </button>
        ))}
      </div>
      <div className="scroll sp panel-body" role="tabpanel" aria-label={NAMES[shown]}>
        {task?.status === "in_doubt" && (
          <div className="ban doubt in-panel">
            <StatusIcon shape="doubt" />
            <div className="sp">
              <div className="m">{task.path} is in doubt</div>
              <div className="t12 i2">{task.message ?? "Nobody knows how its last attempt ended."}</div>
              {run && <LateResult runId={run.id} path={task.path} />}
            </div>
            <button type="button" className="btn sm" onClick={() => actions.ask({ what: "resolve", path: task.path })}>
              Resolve…
            </button>
          </div>
        )}
        {task?.error && task.status !== "completed" && <ErrorBox error={task.error} task={task} />}
        {task && <Relations view={view} task={task} node={id} onPath={onPath} />}
        {run && task ? (
          <Loaded
            key={task.path}
            runId={run.id}
            task={task}
            tab={shown}
            onPath={onPath}
            view={view}
            declared={declared}
            node={node}
            actions={actions}
          />
        ) : (
          <Untouched tab={shown} node={node} declared={declared} view={view} />
        )}
      </div>
    </aside>
  );
}

const VISITS_MAX = 200;

/** An item that isn't open, as the server has it. */
function useItem(runId: string | null, path: string | null): TaskState | null {
  const answer = useQuery({ ...taskQuery(runId ?? "", path ?? ""), enabled: runId !== null && path !== null });
  return useMemo(() => (answer.data ? stateOf(answer.data) : null), [answer.data]);
}

/** What a worker without a lease had as the result: it decides nothing, and helps who decides. */
function LateResult({ runId, path }: { runId: string; path: string }) {
  const detail = useQuery(taskQuery(runId, path)).data;
  if (!detail || detail.late === null || detail.late === undefined) return null;
  return (
    <div className="late-result">
      <div className="t12 i2">This result came too late. It decides nothing.</div>
      <JsonView value={detail.late} label="Late result" />
    </div>
  );
}

/** Whom this task takes back, who took it back, why it was withdrawn, and the runs that it started. */
function Relations({
  view,
  task,
  node,
  onPath,
}: {
  view: RunView;
  task: TaskState;
  node: string;
  onPath: Props["onPath"];
}) {
  const undo = view.fold.order.find((path) => view.fold.tasks[path]?.compensates === task.path);
  const children = view.children.filter((child) => child.parent?.path === task.path);
  const takesBack = view.graph?.edges.filter((edge) => edge.kind === "compensate") ?? [];
  const undoes = takesBack.filter((edge) => edge.target === node).map((edge) => edge.source);
  const undoneBy = takesBack.find((edge) => edge.source === node)?.target;
  const lines: ReactNode[] = [];
  if (task.status === "cancelled")
    lines.push(
      <span key="withdrawn">
        Withdrawn, not failed: <Prose text={task.withdrawn ?? ""} />
      </span>,
    );
  if (task.compensates)
    lines.push(
      <span key="compensates">
        {"Takes back what "}
        <PathButton path={task.compensates} onPath={onPath} />
        {" did"}
      </span>,
    );
  else if (undoes.length > 0) lines.push(<span key="undoes">{`Takes back what ${undoes.join(", ")} did`}</span>);
  if (undo)
    lines.push(
      <span key="undo">
        {"Taken back by "}
        <PathButton path={undo} onPath={onPath} />
      </span>,
    );
  else if (undoneBy) lines.push(<span key="undoneBy">{`${undoneBy} takes it back if the run ends badly`}</span>);
  for (const child of children) {
    lines.push(
      <span key={child.id} className="row">
        <StatusIcon shape={runLook(child.status).shape} size={14} label={runLook(child.status).word} />
        <span>
          Started{" "}
          <Link to="/runs/$id" params={{ id: child.id }}>
            {`run ${shortId(child.id)}`}
          </Link>
          {` of ${child.workflow}`}
        </span>
      </span>,
    );
  }
  for (const plan of view.plans.filter((one) => one.path === task.path)) {
    const count = Object.keys(plan.nodes).length;
    lines.push(
      <span key={plan.path}>
        {`Laid ${count === 1 ? "1 node" : `${count} nodes`} into this run`}
        {plan.reason && <Prose text={`: ${plan.reason}`} />}
      </span>,
    );
  }
  if (lines.length === 0) return null;
  return (
    <ul className="relations t12 i2">
      {lines.map((line, i) => (
        <li key={i}>{line}</li>
      ))}
    </ul>
  );
}

function PathButton({ path, onPath }: { path: string; onPath: Props["onPath"] }) {
  return (
    <button type="button" className="linkish b" onClick={() => onPath(path)}>
      {path}
    </button>
  );
}

function defaultTab(task: TaskState | null, decides: boolean): PanelTab {
  if (!task) return "settings";
  if (task.items) return "items";
  if (decides && task.decision) return "decision";
  if (task.status === "failed" || task.status === "in_doubt") return "attempts";
  return task.status === "completed" ? "output" : "input";
}

function ErrorBox({ error, task }: { error: RunError; task: TaskState }) {
  const details = error.details && Object.keys(error.details).length > 0 ? error.details : null;
  return (
    <div className="ban fail in-panel" role="alert">
      <StatusIcon shape="failed" />
      <div className="sp">
        <div className="m">
          {error.type}
          {task.retryAt && (
            <span className="i2">
              {" "}
              · try {task.attempt} at {clock(task.retryAt)}
            </span>
          )}
        </div>
        <div className="t12 i2 wrap">
          <Prose text={error.message} />
        </div>
        {details && <pre className="t11 i2 wrap mono">{JSON.stringify(details, null, 2)}</pre>}
      </div>
    </div>
  );
}

function Untouched({
  tab,
  node,
  declared,
  view,
}: {
  tab: PanelTab;
  node: GraphNode | null;
  declared: NodeClass | null;
  view: RunView;
}) {
  if (tab === "settings") return <Settings node={node} declared={declared} view={view} />;
  return (
    <p className="empty">
      {view.fold.ended ? "This node was not taken: there was no task." : "No task of this node has been scheduled yet."}
    </p>
  );
}

function Loaded({
  runId,
  task,
  tab,
  view,
  declared,
  node,
  actions,
  onPath,
}: {
  runId: string;
  task: TaskState;
  tab: PanelTab;
  onPath: Props["onPath"];
  view: RunView;
  declared: NodeClass | null;
  node: GraphNode | null;
  actions: ReturnType<typeof useRunActions>;
}) {
  const answer = useQuery(taskQuery(runId, task.path));
  const detail = answer.data ?? null;
  if (answer.error) {
    return (
      <div className="in-panel">
        <Problem error={answer.error} onRetry={() => void answer.refetch()} />
      </div>
    );
  }
  const decision = task.decision ?? detail?.decision ?? null;
  switch (tab) {
    case "items":
      return task.items ? (
        <ItemsView runId={runId} path={task.path} items={task.items} onOpen={(one) => onPath(one)} />
      ) : null;
    case "decision":
      return decision ? (
        <DecisionView
          decision={decision}
          events={view.feed.events}
          path={task.path}
          onFork={(route) =>
            actions.ask(route ? { what: "fork", decision: { path: task.path, route } } : { what: "fork" })
          }
        />
      ) : (
        <p className="empty">It has not decided yet. {node && routesSentence(view, node.id)}</p>
      );
    case "input":
      return detail ? (
        <Section title="What led here" aside={detail.previous.join(", ")}>
          <JsonView value={detail.input} label="Input" />
        </Section>
      ) : (
        <Bars />
      );
    case "output":
      if (task.status !== "completed" && task.status !== "skipped") {
        return <p className="empty">The output is known when the task completes.</p>;
      }
      return detail ? (
        <Section title="Output" aside={detail.output_bytes === null ? "" : bytes(detail.output_bytes)}>
          <JsonView value={detail.output} label="Output" />
          {task.item === null && task.status === "completed" && (
            <button
              type="button"
              className="btn sm fork-here"
              onClick={() => actions.ask({ what: "fork", output: task.path })}
            >
              <Icon name="fork" size={14} />
              Fork with another output…
            </button>
          )}
        </Section>
      ) : (
        <Bars />
      );
    case "logs":
      return detail ? <Logs detail={detail} /> : <Bars />;
    case "attempts":
      return detail ? <Attempts detail={detail} /> : <Bars />;
    case "settings":
      return <Settings node={node} declared={declared} view={view} detail={detail} />;
  }
}

const bytes = (count: number): string => (count < 1024 ? `${count} bytes` : `${(count / 1024).toFixed(1)} KiB`);

function routesSentence(view: RunView, id: string): string {
  const targets =
    view.graph?.edges
      .filter((edge) => edge.source === id && edge.kind !== "error")
      .map((edge) => edge.label ?? edge.target) ?? [];
  return targets.length > 0 ? `It may choose ${targets.join(", ")}.` : "";
}

function Section({ title, aside, children }: { title: string; aside?: string; children: ReactNode }) {
  return (
    <section className="sec">
      <h3 className="h3">
        <span className="sp">{title}</span>
        {aside && <span className="t11 i3 regular cut">{aside}</span>}
      </h3>
      {children}
    </section>
  );
}

function Bars() {
  return (
    <div aria-hidden="true">
      {[64, 48, 72].map((width) => (
        <div className="skeleton late" key={width}>
          <i style={{ width: `${width}%` }} />
        </div>
      ))}
    </div>
  );
}

function Logs({ detail }: { detail: TaskDetail }) {
  if (detail.logs.length === 0) return <p className="empty">This task logged nothing.</p>;
  return (
    <ol className="logs">
      {detail.logs.map((line, i) => (
        <li key={i} className={/error|critical/i.test(line.level) ? "c-fail" : ""}>
          <span className="num i3" title={exact(line.at)}>
            {clock(line.at)}
          </span>
          <span className="i3">{line.level}</span>
          <span className="wrap">{line.message}</span>
        </li>
      ))}
    </ol>
  );
}

function Attempts({ detail }: { detail: TaskDetail }) {
  return (
    <>
      <Section
        title={detail.attempts.length === 1 ? "1 attempt" : `${detail.attempts.length} attempts`}
        aside={detail.effect ?? ""}
      >
        <ol className="attempts">
          {detail.attempts.map((one) => (
            <li key={one.attempt}>
              <div className="row t12">
                <StatusIcon
                  shape={
                    one.error ? "failed" : one.finished_at ? "ok" : detail.status === "in_doubt" ? "doubt" : "running"
                  }
                  size={14}
                />
                <span className="m nw">{`Attempt ${one.attempt}`}</span>
                <span className="i3 cut">{one.worker ? `worker ${one.worker}` : ""}</span>
                <span className="sp" />
                <span className="num i2" title={exact(one.started_at)}>
                  {clock(one.started_at)}
                </span>
                <span className="num i2 took">
                  {one.started_at && one.finished_at ? duration(micros(one.finished_at) - micros(one.started_at)) : ""}
                </span>
              </div>
              {one.error && <p className="t12 c-fail wrap tries">{`${one.error.type}: ${one.error.message}`}</p>}
            </li>
          ))}
        </ol>
      </Section>
      {detail.steps.length > 0 && <Steps task={detail} />}
    </>
  );
}

function Steps({ task }: { task: Task }) {
  return (
    <Section title="Steps" aside={`${task.steps.length}, all recorded`}>
      {task.steps.map((step) => (
        <div className="step t12" key={`${step.name}${step.at}`}>
          <Icon name="tool" size={14} className="i2" />
          <span className="m nw">{step.name}</span>
          <span className="mono t11 i3 cut sp">{step.value === undefined ? "" : JSON.stringify(step.value)}</span>
          <span className="i3">{step.effect}</span>
          <span className="num i2 nw">{duration(step.duration_us)}</span>
        </div>
      ))}
    </Section>
  );
}

function Settings({
  node,
  declared,
  view,
  detail,
}: {
  node: GraphNode | null;
  declared: NodeClass | null;
  view: RunView;
  detail?: TaskDetail | null;
}) {
  const plan = view.plans.find((one) => one.graph.nodes.some((inside) => inside.id === node?.id)) ?? null;
  const nodes = plan?.nodes ?? view.workflow?.document.nodes;
  const name = node && (plan ? nameOf(node.id) : node.id);
  const written = name && nodes && typeof nodes === "object" && !Array.isArray(nodes) ? (nodes[name] ?? null) : null;
  return (
    <>
      {declared && (
        <section className="sec">
          <div className="m">{declared.title || declared.name}</div>
          <p className="t12 i2">
            <Prose text={declared.summary || declared.description} />
          </p>
          <div className="row marks">
            <span className="tag">{node?.effect ?? declared.effect}</span>
            {declared.decides && <span className="tag iris">decides</span>}
            {node?.join && <span className="tag">joins</span>}
          </div>
        </section>
      )}
      <Section
        title={plan ? "In the plan" : "In the document"}
        aside={plan ? `event ${plan.seq}` : `version ${view.workflow?.version ?? ""}`}
      >
        <JsonView value={written} label="Settings" />
      </Section>
      {detail && detail.params !== null && (
        <Section title="Params of this task">
          <JsonView value={detail.params} label="Params" />
        </Section>
      )}
      {detail && (
        <Section title="Task">
          <dl className="facts t12">
            <dt>Status</dt>
            <dd>
              <TaskStatusText status={detail.status} />
            </dd>
            <dt>Scheduled</dt>
            <dd className="num">{exact(detail.scheduled_at)}</dd>
            {detail.waiting_for && (
              <>
                <dt>Waits for</dt>
                <dd>
                  <Prose text={localTimes(detail.waiting_for.sentence, [detail.waiting_for.at])} />
                </dd>
              </>
            )}
          </dl>
        </Section>
      )}
    </>
  );
}
