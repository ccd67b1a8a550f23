import { Link } from "@tanstack/react-router";
import { useMemo } from "react";
import { ApiProblem } from "@/api/client";
import type { Run, TaskCounts } from "@/api/types";
import { Problem } from "@/app/errors";
import { type PanelTab, runRoute } from "@/app/router";
import { Icon } from "@/design/icons";
import { Prose } from "@/design/Prose";
import { RunChip, StatusIcon } from "@/design/status";
import { useMedia } from "@/design/useMedia";
import { useNow } from "@/design/useNow";
import { useTitle } from "@/design/useTitle";
import { GraphView } from "@/features/graph/GraphView";
import { Dock } from "@/features/journal/Dock";
import { bannerOf } from "@/rules/banner";
import { containerOf, isOpen, nodeOfPath, type RunFold } from "@/rules/fold";
import { countsSentence, isTerminal, shortId } from "@/rules/status";
import { duration, exact, micros, moment } from "@/rules/time";
import { RunButtons, useRunActions } from "./actions";
import { BudgetButton } from "./BudgetBar";
import { Kin } from "./Kin";
import { NodePanel } from "./NodePanel";
import { type RunView, useRunView } from "./useRunView";
import "./run.css";

export function RunPage() {
  const { id } = runRoute.useParams();
  const search = runRoute.useSearch();
  const navigate = runRoute.useNavigate();
  const view = useRunView(id);
  const actions = useRunActions(view);
  const { run, feed, fold, graph } = view;
  useTitle(run ? `Run ${shortId(id)} · ${run.workflow}` : `Run ${shortId(id)}`);
  // In a narrow window the panel lies over the page, so it opens only for a person who asks for it.
  const phone = useMedia("(max-width: 900px)");
  const interesting = useMemo(() => (phone ? null : nodeOfInterest(fold)), [fold, phone]);
  const selected = search.node === "none" ? null : (search.node ?? interesting);
  const select = (node: string | null) =>
    void navigate({
      search: (before) => ({ ...before, node: node ?? "none", task: undefined, tab: undefined }),
      replace: true,
    });
  const open = (path: string | null, tab?: PanelTab) =>
    void navigate({
      search: (before) => ({
        ...before,
        node: (path && nodeOf(fold, path)) ?? selected ?? "none",
        task: path ?? undefined,
        tab,
      }),
    });
  if (view.error && !run) {
    const missing = view.error instanceof ApiProblem && view.error.status === 404;
    return (
      <div className="middle">
        {missing ? <h1 className="title">There is no run {id.slice(0, 12)}</h1> : <Problem error={view.error} />}
        <Link to="/runs" className="btn">
          Open the runs
        </Link>
      </div>
    );
  }
  return (
    <>
      <header className="sub run-sub">
        {run ? (
          <>
            <Link
              to="/workflows/$name"
              params={{ name: run.workflow }}
              search={{ run: id }}
              className="i3 nw plain cut parent"
            >
              {run.workflow}
            </Link>
            <span className="i3">/</span>
            <h1 className="nw" title={run.id}>
              Run {shortId(id)}
            </h1>
            <RunChip status={run.status} />
            <RunFacts run={run} fold={fold} />
            <BudgetButton run={run} onRaise={() => actions.ask({ what: "raise" })} />
            <span className="sp" />
            {Object.entries(run.labels).map(([key, value]) => (
              <Link key={key} to="/runs" search={{ label: [`${key}:${value}`] }} className="lab plain desk">
                {`${key}: ${value}`}
              </Link>
            ))}
            <RunButtons view={view} actions={actions} />
          </>
        ) : (
          <h1>Run {shortId(id)}</h1>
        )}
      </header>
      {run && <Kin run={run} view={view} />}
      <div className="run-main">
        <div className="col sp">
          {run && <RunBanner view={view} actions={actions} onNode={select} />}
          <div className="run-graph">
            <GraphView
              graph={graph}
              fold={fold}
              classes={view.classes}
              joins={view.joins}
              plans={view.plans}
              selected={selected}
              onSelect={select}
            >
              <Legend />
            </GraphView>
          </div>
          <Dock
            run={run}
            feed={feed}
            fold={fold}
            tab={search.dock ?? "timeline"}
            onTab={(dock) => void navigate({ search: (before) => ({ ...before, dock }) })}
            selected={selected}
            onSelect={select}
            fill
          />
        </div>
        {selected && run && (
          <NodePanel
            key={selected}
            view={view}
            node={selected}
            tab={search.tab}
            path={search.task ?? null}
            onPath={open}
            onTab={(tab: PanelTab) => void navigate({ search: (before) => ({ ...before, node: selected, tab }) })}
            onClose={() => select(null)}
            actions={actions}
          />
        )}
      </div>
      {actions.dialogs}
    </>
  );
}

/** The node of a task; of one that isn't here its path says it. */
const nodeOf = (fold: RunFold, path: string): string =>
  (fold.tasks[path] ?? fold.tasks[containerOf(path)] ?? fold.openItems[path])?.node ?? nodeOfPath(path);

/** Whom a person wants to see first: the root failure, else who is in doubt, else who decided. */
function nodeOfInterest(fold: RunFold): string | null {
  const all = fold.order.flatMap((path) => fold.tasks[path] ?? []);
  const item = Object.values(fold.openItems).find((task) => task.status === "in_doubt");
  const failed = all
    .filter((task) => task.status === "failed")
    .sort((a, b) => (a.finishedAt ?? "").localeCompare(b.finishedAt ?? ""));
  return (
    (failed[0] ?? all.find((task) => task.status === "in_doubt") ?? item ?? all.find((task) => task.decision))?.node ??
    null
  );
}

/** How the tasks stand; of a run with items as the server counted them, because they aren't all here. */
function countsOf(run: Run, fold: RunFold): TaskCounts {
  const all = Object.values(fold.tasks);
  if (fold.partial || all.some((task) => task.items !== null)) {
    const lists = all.filter((task) => task.items !== null && isOpen(task.status)).length;
    return { ...run.tasks, waiting: Math.max(0, run.tasks.waiting - lists) };
  }
  const counts = { ...NO_COUNTS };
  for (const task of all) counts[task.status] += 1;
  return counts;
}

const NO_COUNTS: TaskCounts = {
  total: 0,
  completed: 0,
  failed: 0,
  skipped: 0,
  running: 0,
  waiting: 0,
  in_doubt: 0,
  ready: 0,
  cancelled: 0,
};

function RunFacts({ run, fold }: { run: Run; fold: RunFold }) {
  const over = isTerminal(run.status);
  const now = useNow(over ? 3_600_000 : 200);
  const start = run.started_at ?? run.created_at;
  const end = run.finished_at ?? fold.finishedAt;
  const took = end ? micros(end) - micros(start) : now * 1000 - micros(start);
  const counts = useMemo(() => countsOf(run, fold), [run, fold]);
  return (
    <>
      <span className="i2 nw t12">version {run.version}</span>
      <span className="vr desk" />
      <span className="i2 nw t12 num desk started" title={exact(start)}>
        started {moment(start)}
      </span>
      <span className="i2 nw t12 num">{duration(took)}</span>
      <span className="i2 nw t12 num desk">{countsSentence(counts)}</span>
    </>
  );
}

const SHAPES = { fail: "failed", wait: "waiting", doubt: "doubt", idle: "queued" } as const;

export function RunBanner({
  view,
  actions,
  onNode,
}: {
  view: RunView;
  actions: ReturnType<typeof useRunActions>;
  onNode: (node: string) => void;
}) {
  const { run, fold, tasks } = view;
  if (!run) return null;
  const banner = bannerOf(run, fold, tasks);
  if (!banner) return null;
  const { node } = banner;
  const { status } = run;
  const shape = status === "paused" || status === "cancelling" || status === "cancelled" ? status : SHAPES[banner.tone];
  const doubt = banner.action === "resolve" ? banner.path : null;
  return (
    <div className={`why ${banner.tone}`} role={banner.tone === "fail" ? "alert" : "status"}>
      <StatusIcon shape={shape} />
      <span className="sp wrap">
        <b className="b">
          <Prose text={banner.title} />
        </b>{" "}
        {banner.detail && (
          <span className="i2">
            — <Prose text={banner.detail} />
          </span>
        )}
      </span>
      {node && banner.tone === "fail" && (
        <button type="button" className="m linkish nw" onClick={() => onNode(node)}>
          Show {node}
        </button>
      )}
      {banner.run && (
        <Link to="/runs/$id" params={{ id: banner.run }} className="m nw">
          Open run {shortId(banner.run)}
        </Link>
      )}
      {banner.action === "resolve" && doubt && (
        <button type="button" className="btn sm" onClick={() => actions.ask({ what: "resolve", path: doubt })}>
          Resolve…
        </button>
      )}
      {banner.action === "raise" && (
        <button type="button" className="btn sm" onClick={() => actions.ask({ what: "raise" })}>
          Raise the budget…
        </button>
      )}
      {banner.action === "signal" && (
        <button type="button" className="btn sm" onClick={() => actions.ask({ what: "signal", name: banner.signal })}>
          <Icon name="bolt" size={14} />
          {`Send “${banner.signal ?? "signal"}”…`}
        </button>
      )}
    </div>
  );
}

const legend: [string, string][] = [
  ["taken", "taken"],
  ["off", "not taken"],
  ["err", "on error"],
];

export function Legend() {
  return (
    <div className="legend desk" aria-hidden="true">
      {legend.map(([look, words]) => (
        <span key={look}>
          <svg width="28" height="4" viewBox="0 0 28 4" aria-hidden="true">
            <path className={`e react-flow__edge-path ${look}`} d="M0 2H28" />
          </svg>
          {words}
        </span>
      ))}
    </div>
  );
}
