import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { lazy, Suspense, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { api } from "@/api/calls";
import { ApiProblem } from "@/api/client";
import { classesQuery, lastRunQuery, schemaQuery, workflowQuery } from "@/api/queries";
import type { Json, JsonObject, Workflow } from "@/api/types";
import { useOverview } from "@/api/useOverview";
import { Problem } from "@/app/errors";
import { type PanelTab, workbenchRoute } from "@/app/router";
import { Icon } from "@/design/icons";
import { RunChip, StatusIcon } from "@/design/status";
import { say } from "@/design/toasts";
import { useDrag } from "@/design/useDrag";
import { useNow } from "@/design/useNow";
import { useTitle } from "@/design/useTitle";
import { GraphView } from "@/features/graph/GraphView";
import { Dock } from "@/features/journal/Dock";
import { RunButtons, useRunActions } from "@/features/run/actions";
import { BudgetButton } from "@/features/run/BudgetBar";
import { NodePanel } from "@/features/run/NodePanel";
import { RunBanner } from "@/features/run/RunPage";
import { type RunView, useRunView } from "@/features/run/useRunView";
import { changes } from "@/rules/diff";
import { formatted, type Known, pointerPath } from "@/rules/document";
import { isTerminal, shortId } from "@/rules/status";
import { clock, micros, moment, stopwatch } from "@/rules/time";
import { type Syntax, syntaxOf, toYaml } from "@/rules/yaml";
import type { EditorHandle } from "./Editor";
import { RunDialog } from "./RunDialog";
import { TryOther } from "./TryOther";
import { dropDraft, useDraft } from "./useDraft";
import { type Checked, useValidation } from "./useValidation";
import "./workbench.css";

const Editor = lazy(() => import("./Editor"));

const NO_PLANS: RunView["plans"] = [];
const START = `{
  "name": "New workflow",
  "start_at": "start",
  "nodes": {
    "start": {"class": "StartNode", "next_node": "end"},
    "end": {"class": "EndNode"}
  }
}
`;

export function WorkbenchPage() {
  const { name } = workbenchRoute.useParams();
  const workflow = useQuery(workflowQuery(name));
  useTitle(name);
  if (workflow.error && !workflow.data) {
    const missing = workflow.error instanceof ApiProblem && workflow.error.status === 404;
    return (
      <div className="middle">
        {missing ? <h1 className="title">There is no workflow “{name}”</h1> : <Problem error={workflow.error} />}
        <Link to="/" className="btn">
          Open the workflows
        </Link>
      </div>
    );
  }
  if (!workflow.data) return <Head name={name} />;
  return <Workbench key={name} name={name} workflow={workflow.data} />;
}

export function NewWorkflowPage() {
  useTitle("New workflow");
  useOverview();
  return <Workbench name="" workflow={null} />;
}

function Head({ name }: { name: string }) {
  return (
    <header className="sub">
      <span className="i3 nw">Workflows</span>
      <span className="i3">/</span>
      <h1>{name}</h1>
    </header>
  );
}

function useWorkbenchSearch() {
  const search = workbenchRoute.useSearch({ shouldThrow: false }) ?? {};
  const navigate = useNavigate();
  const set = useCallback(
    (
      change: {
        run?: string | undefined;
        node?: string | undefined;
        task?: string | undefined;
        tab?: PanelTab | undefined;
        dock?: typeof search.dock;
      },
      replace = false,
    ) => void navigate({ to: ".", search: (before: object) => ({ ...before, ...change }), replace } as never),
    [navigate],
  );
  return { search, set };
}

function readObject(text: string): JsonObject | null {
  try {
    const value = JSON.parse(text) as Json;
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

function Workbench({ name, workflow }: { name: string; workflow: Workflow | null }) {
  const { search, set } = useWorkbenchSearch();
  const saved = workflow === null ? START : workflow.text;
  const version = workflow?.version ?? 0;
  const draft = useDraft(name, saved, version);
  const checked = useValidation(draft.text);
  const classes = useQuery(classesQuery).data ?? [];
  const schema = useQuery(schemaQuery).data ?? null;
  const known: Known = useMemo(() => ({ classes, schema }), [classes, schema]);
  const last = useQuery({ ...lastRunQuery(name), enabled: workflow !== null });
  const runId = search.run ?? last.data?.id ?? null;
  const view = useRunView(runId);
  const actions = useRunActions(view);
  const [shown, setShown] = useState<"run" | "draft">("run");
  const [asking, setAsking] = useState<{ input: Json | undefined } | null>(null);
  const editor = useRef<EditorHandle>(null);
  const { size, handle } = useDrag({ name: "editor", initial: 508, least: 320, most: 900, edge: "right" });
  const [can, setCan] = useState({ undo: false, redo: false });

  const onRun = view.run !== null && shown === "run";
  const selected = search.node && search.node !== "none" ? search.node : null;
  const select = useCallback(
    (node: string | null) => set({ node: node ?? undefined, task: undefined, tab: undefined }, true),
    [set],
  );
  const start = useCallback(
    (run: string) => {
      setShown("run");
      set({ run, node: undefined, task: undefined, tab: undefined });
    },
    [set],
  );
  const faulty = useMemo(
    () =>
      new Set(
        checked.problems
          .filter((one) => one.severity === "fault")
          .flatMap((one) => {
            const [first, node] = pointerPath(one.pointer);
            return first === "nodes" && node !== undefined ? [String(node)] : [];
          }),
      ),
    [checked.problems],
  );
  const syntax = syntaxOf(draft.text);
  const meant = syntax === "yaml" && checked.text === draft.text ? checked.document : null;
  /** The same document in the other way of writing; null while its text can't be read. */
  const rewritten = (to: Syntax): string | null => {
    // As it was saved, comments and all, if nothing was changed but the way of writing.
    if (workflow?.syntax === to && count === 0) return workflow.text;
    const value = meant ?? readObject(draft.text);
    if (!value) return null;
    return to === "yaml" ? toYaml(value) : `${JSON.stringify(value, null, 2)}\n`;
  };
  const count = useMemo(() => {
    if (!workflow) return 0;
    const now = meant ?? readObject(draft.text);
    return now ? changes(workflow.document, now).length : null;
  }, [workflow, draft.text, meant]);
  // What means the same makes no version, so none is offered.
  const unsaved = !workflow || (draft.dirty && count !== 0);
  const save = useSave({ name, draft, checked, onSaved: () => setShown("draft") });

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (!(event.ctrlKey || event.metaKey) || document.querySelector("dialog[open]")) return;
      if (event.key.toLowerCase() === "s") {
        event.preventDefault();
        save.now();
      } else if (event.key === "Enter" && workflow) {
        event.preventDefault();
        setAsking({ input: view.run?.input });
      }
    };
    window.addEventListener("keydown", onKey, true);
    return () => window.removeEventListener("keydown", onKey, true);
  }, [save, workflow, view.run]);

  return (
    <>
      <header className="sub">
        <Link to="/" className="i3 nw plain desk">
          Workflows
        </Link>
        <span className="i3 desk">/</span>
        <h1>{workflow ? name : "New workflow"}</h1>
        {workflow && <WorkflowTabs name={name} on="workbench" />}
        <span className="sp" />
        <SaveState
          draft={draft}
          workflow={workflow}
          checked={checked}
          count={count}
          onDiscard={() => editor.current?.replaceAll(saved)}
        />
        {workflow && (
          <button
            type="button"
            className={unsaved ? "btn" : "btn pri"}
            onClick={() => setAsking({ input: view.run?.input })}
          >
            <Icon name="play" size={14} />
            {`Run version ${workflow.version}…`}
          </button>
        )}
        <SaveButton save={save} checked={checked} next={(workflow?.versions ?? 0) + 1} unsaved={unsaved} />
      </header>
      <div className="wb">
        <section className="ed" style={{ width: size }} aria-label="Document">
          {handle("Width of the editor")}
          <div className="edh">
            <fieldset className="seg ed-syntax">
              <legend className="hidden-text">How the document is written</legend>
              {(["json", "yaml"] as const).map((one) => {
                const text = one === syntax ? null : rewritten(one);
                return (
                  <button
                    type="button"
                    key={one}
                    className={one === syntax ? "on" : ""}
                    aria-pressed={one === syntax}
                    disabled={one !== syntax && text === null}
                    title={one !== syntax && text === null ? "The text can't be read as it is" : undefined}
                    onClick={() => text !== null && editor.current?.replaceAll(text)}
                  >
                    {one.toUpperCase()}
                  </button>
                );
              })}
            </fieldset>
            <span className="sp" />
            <ProblemCount checked={checked} onGo={(offset) => editor.current?.goTo(offset)} />
            {syntax === "json" && (
              <button
                type="button"
                className="btn ghost xs"
                disabled={checked.faults > 0 && checked.problems.some((one) => one.code === "invalid_json")}
                onClick={() => editor.current?.replaceAll(formatted(draft.text))}
              >
                Format
              </button>
            )}
            <button
              type="button"
              className="btn ghost icon xs"
              disabled={!can.undo}
              onClick={() => editor.current?.undo()}
              aria-label="Undo"
            >
              <Icon name="undo" size={14} />
            </button>
            <button
              type="button"
              className="btn ghost icon xs"
              disabled={!can.redo}
              onClick={() => editor.current?.redo()}
              aria-label="Redo"
            >
              <Icon name="redo" size={14} />
            </button>
          </div>
          <Suspense fallback={<pre className="code waiting">{draft.text}</pre>}>
            <Editor
              initial={draft.text}
              syntax={syntax}
              known={known}
              problems={checked.problems}
              onChange={draft.change}
              onHistory={setCan}
              handle={editor}
            />
          </Suspense>
        </section>
        <div className="col sp">
          {onRun && <RunBar view={view} actions={actions} />}
          {onRun && <RunBanner view={view} actions={actions} onNode={select} />}
          <GraphView
            graph={onRun ? view.graph : (checked.graph ?? workflow?.graph ?? null)}
            fold={onRun ? view.fold : null}
            joins={view.joins}
            plans={onRun ? view.plans : NO_PLANS}
            classes={classes}
            selected={selected}
            onSelect={select}
            {...(onRun ? {} : { faulty })}
          >
            <Shown
              view={view}
              draft={draft.dirty}
              workflow={workflow}
              shown={shown}
              onShow={setShown}
              checked={checked}
            />
            {onRun && (
              <TryOther view={view} classes={classes} onStarted={start} onAsk={(input) => setAsking({ input })} />
            )}
          </GraphView>
        </div>
        {selected && (onRun ? view.run : workflow) && (
          <NodePanel
            key={`${selected}${shown}`}
            view={onRun ? view : { ...view, run: null, workflow, graph: checked.graph ?? workflow?.graph ?? null }}
            node={selected}
            tab={search.tab}
            onTab={(tab) => set({ tab })}
            path={search.task ?? null}
            onPath={(path, tab) =>
              set({ task: path ?? undefined, tab, ...(path && { node: view.fold.tasks[path]?.node ?? selected }) })
            }
            onClose={() => select(null)}
            actions={actions}
          />
        )}
      </div>
      {workflow && (
        <Dock
          run={view.run}
          feed={view.feed}
          fold={view.fold}
          tab={search.dock ?? "journal"}
          onTab={(dock) => set({ dock })}
          selected={selected}
          onSelect={select}
        />
      )}
      {actions.dialogs}
      {asking && workflow && (
        <RunDialog
          name={name}
          version={workflow.version}
          input={asking.input}
          onClose={() => setAsking(null)}
          onStarted={start}
        />
      )}
    </>
  );
}

export function WorkflowTabs({ name, on }: { name: string; on: "workbench" | "versions" }) {
  return (
    <nav className="seg desk" aria-label="About this workflow">
      <Link to="/workflows/$name" params={{ name }} className={on === "workbench" ? "on" : ""}>
        Workbench
      </Link>
      <Link to="/runs" search={{ workflow: name }}>
        Runs
      </Link>
      <Link to="/workflows/$name/versions" params={{ name }} className={on === "versions" ? "on" : ""}>
        Versions
      </Link>
    </nav>
  );
}

function useSave({
  name,
  draft,
  checked,
  onSaved,
}: {
  name: string;
  draft: ReturnType<typeof useDraft>;
  checked: Checked;
  onSaved: () => void;
}) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const call = useMutation({
    mutationFn: () => api.saveWorkflow(draft.text),
    onSuccess: async (answer) => {
      dropDraft(name);
      say(
        answer.created
          ? `Saved as version ${answer.version}`
          : `It means the same as version ${answer.version}; no new version was needed`,
      );
      onSaved();
      await client.invalidateQueries({ queryKey: ["workflows"] });
      if (answer.name !== name) void navigate({ to: "/workflows/$name", params: { name: answer.name } });
    },
    onError: (error) => say(error.message, { bad: true }),
  });
  const ready = checked.text === draft.text && checked.faults === 0 && !call.isPending;
  const now = () => {
    if (ready && (draft.dirty || name === "")) call.mutate();
  };
  return { now, pending: call.isPending, ready };
}

function SaveButton({
  save,
  checked,
  next,
  unsaved,
}: {
  save: ReturnType<typeof useSave>;
  checked: Checked;
  next: number;
  unsaved: boolean;
}) {
  if (checked.faults > 0) {
    return (
      <button type="button" className="btn" disabled>
        <StatusIcon shape="failed" size={14} />
        {`Fix ${checked.faults === 1 ? "1 problem" : `${checked.faults} problems`} to save`}
      </button>
    );
  }
  if (!unsaved) return null;
  return (
    <button type="button" className="btn pri" onClick={save.now} disabled={save.pending || !save.ready}>
      {save.pending ? "Saving" : `Save as version ${next}`}
    </button>
  );
}

function SaveState({
  draft,
  workflow,
  checked,
  count,
  onDiscard,
}: {
  draft: ReturnType<typeof useDraft>;
  workflow: Workflow | null;
  checked: Checked;
  /** Places where the draft differs from the version; null while it cannot be read. */
  count: number | null;
  onDiscard: () => void;
}) {
  if (checked.away) {
    return (
      <span className="t12 c-wait row nw save desk">
        <Icon name="warn" size={14} />
        Not checked: the server does not answer
      </span>
    );
  }
  if (!workflow) return null;
  if (!draft.dirty) {
    return (
      <span className="t12 i2 row nw save desk">
        <Icon name="check" size={14} className="c-ok" />
        {`Version ${workflow.version} saved ${moment(workflow.updated_at)}`}
      </span>
    );
  }
  const since =
    count === null ? "" : count === 0 ? "same meaning as" : count === 1 ? "1 change since" : `${count} changes since`;
  return (
    <span className="t12 i2 row nw save desk">
      <Icon name="check" size={14} className="c-ok" />
      <span title="In this browser; a version is saved on the server">
        {draft.keptAt ? `Draft kept ${clock(draft.keptAt)}` : "Draft"}
      </span>
      {since && <span className="i3">{`· ${since} version ${workflow.version}`}</span>}
      <button type="button" className="linkish i3" onClick={onDiscard} title="Undo brings the draft back">
        Discard
      </button>
    </span>
  );
}

function ProblemCount({ checked, onGo }: { checked: Checked; onGo: (offset: number) => void }) {
  const [first] = checked.problems;
  if (!first) {
    return checked.text === null ? null : (
      <span className="t12 i3 row no-problems">
        <Icon name="check" size={12} className="c-ok" />
        No problems
      </span>
    );
  }
  const hints = checked.problems.length - checked.faults;
  const label =
    checked.faults > 0
      ? `${checked.faults} ${checked.faults === 1 ? "problem" : "problems"}`
      : `${hints} ${hints === 1 ? "hint" : "hints"}`;
  return (
    <button
      type="button"
      className={`btn ghost xs ${checked.faults > 0 ? "danger" : "c-wait"}`}
      onClick={() => onGo(first.from)}
      title="Go to the first"
    >
      {checked.faults > 0 ? <StatusIcon shape="failed" size={12} /> : <Icon name="warn" size={12} />}
      {label}
    </button>
  );
}

function RunBar({ view, actions }: { view: RunView; actions: ReturnType<typeof useRunActions> }) {
  const { run, fold } = view;
  const over = run ? isTerminal(run.status) : true;
  const now = useNow(over ? 3_600_000 : 100);
  if (!run) return null;
  const start = run.started_at ?? run.created_at;
  const end = run.finished_at ?? fold.finishedAt;
  const tasks = Object.values(fold.tasks);
  const done = tasks.filter((task) => task.status === "completed" || task.status === "skipped").length;
  const took = (end ? micros(end) : now * 1000) - micros(start);
  return (
    <div className="runbar">
      <RunChip status={run.status} />
      <Link to="/runs/$id" params={{ id: run.id }} className="m nw">
        Run {shortId(run.id)}
      </Link>
      <span className="i3 nw optional">version {run.version}</span>
      <span className="vr optional" />
      <span className="num m">{stopwatch(took)}</span>
      <span className="i2 num nw optional">{`${done} of ${tasks.length} tasks`}</span>
      <BudgetButton run={run} onRaise={() => actions.ask({ what: "raise" })} />
      <span className="sp" />
      <RunButtons view={view} actions={actions} brief />
      {run.status === "running" && tasks.length > 0 && (
        <i className="prog" aria-hidden="true">
          <b style={{ width: `${(done / Math.max(tasks.length, view.graph?.nodes.length ?? 1)) * 100}%` }} />
        </i>
      )}
    </div>
  );
}

/** Which drawing this is, and the way to the other one. */
function Shown({
  view,
  draft,
  workflow,
  shown,
  onShow,
  checked,
}: {
  view: RunView;
  draft: boolean;
  workflow: Workflow | null;
  shown: "run" | "draft";
  onShow: (shown: "run" | "draft") => void;
  checked: Checked;
}) {
  const { run } = view;
  const { faults } = checked;
  const problems = faults === 0 ? "" : faults === 1 ? ", 1 problem" : `, ${faults} problems`;
  const now = draft || !workflow ? `Draft${problems}` : `Version ${workflow.version}`;
  if (!run) {
    return faults > 0 && !checked.drawn ? (
      <span className="ver">The last drawing that could be made</span>
    ) : (
      <span className="ver">{now}</span>
    );
  }
  const asRun = `Version ${run.version} as it ${isTerminal(run.status) ? "ran" : "runs"}`;
  return (
    <fieldset className="seg ver-seg">
      <legend className="hidden-text">Drawing</legend>
      <button
        type="button"
        className={shown === "draft" ? "on" : ""}
        aria-pressed={shown === "draft"}
        onClick={() => onShow("draft")}
      >
        {now}
      </button>
      <button
        type="button"
        className={shown === "run" ? "on" : ""}
        aria-pressed={shown === "run"}
        onClick={() => onShow("run")}
      >
        {asRun}
      </button>
    </fieldset>
  );
}
