/** Another run from any point of this one: what it changes, and, beside it, what that means before it starts. */
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { type ReactNode, useEffect, useId, useMemo, useState } from "react";
import { api, type ForkAsked } from "@/api/calls";
import { taskQuery } from "@/api/queries";
import type { Json, JsonObject } from "@/api/types";
import { Icon } from "@/design/icons";
import { JsonEditor } from "@/design/JsonEditor";
import { type Read, readJson } from "@/design/JsonField";
import { forkPoints, repeatsWords } from "@/rules/fork";
import { shortId } from "@/rules/status";
import type { ForkWish } from "./actions";
import { ForkPlanView } from "./ForkPlanView";
import { Ask, type Props } from "./RunDialogs";

const SETTLE_MS = 300;
const POINTS_MAX = 300;
const CHOSEN_BY_CHANGE = "by change";

type Kind = "decision" | "output" | "input" | "vars" | "version";
const NAMES: Record<Kind, string> = {
  decision: "Decision",
  output: "Output of a task",
  input: "Input",
  vars: "Variables",
  version: "Version",
};
const KINDS = Object.keys(NAMES) as Kind[];

export function ForkDialog({ run, view, onClose, onForked, wish }: Props & { wish: ForkWish }) {
  const points = useMemo(() => forkPoints(view.feed.events), [view.feed.events]);
  const ways = useMemo(() => otherWays(view), [view]);
  const [kinds, setKinds] = useState<readonly Kind[]>(() => begunWith(wish));
  const [point, setPoint] = useState<number | null>(wish.seq ?? null);
  const [way, setWay] = useState(() => (wish.decision ? key(wish.decision) : ""));
  const [path, setPath] = useState(wish.output ?? "");
  const [output, setOutput] = useState<string | null>(null);
  const [input, setInput] = useState(() => JSON.stringify(run.input, null, 2));
  const [vars, setVars] = useState<string | null>(null);
  const [version, setVersion] = useState(String(run.version));
  const has = (kind: Kind) => kinds.includes(kind);

  const paths = useMemo(() => withOutput(view), [view]);
  const known = useQuery({ ...taskQuery(run.id, path), enabled: has("output") && path !== "" }).data;
  const outputText = output ?? JSON.stringify(known?.output ?? null, null, 2);
  const asks = ways.find((one) => key(one) === way) ?? ways[0];
  const decision = has("decision") ? asks : undefined;
  const byChange = decision !== undefined || (has("output") && path !== "");
  const seq = point ?? points.at(run.finished_at ? 0 : -1)?.seq ?? null;
  const before = useQuery({
    queryKey: ["runs", "state", run.id, byChange ? null : seq],
    queryFn: () => api.stateAt(run.id, byChange ? null : seq),
    enabled: has("vars"),
  }).data;
  const varsText = vars ?? JSON.stringify(before?.variables ?? {}, null, 2);

  const read: Partial<Record<Kind, Read>> = {
    ...(has("input") && { input: readJson(input) }),
    ...(has("vars") && { vars: readJson(varsText) }),
    ...(has("output") && { output: readJson(outputText) }),
  };
  const varsOk = !read.vars?.ok || isObject(read.vars.value);
  const versionOk = !has("version") || /^[1-9]\d*$/.test(version);
  const ready =
    Object.values(read).every((one) => one.ok) &&
    varsOk &&
    versionOk &&
    (byChange || seq !== null) &&
    (!has("output") || path !== "");
  const body: ForkAsked = byChange ? {} : { seq: seq ?? 1 };
  if (point !== null && has("output")) body.seq = point;
  if (decision) body.decisions = { [decision.path]: [decision.route] };
  if (read.output?.ok && path !== "") body.outputs = { [path]: read.output.value };
  if (read.input?.ok) body.input = read.input.value;
  if (read.vars?.ok && isObject(read.vars.value)) body.vars = changedOnly(read.vars.value, before?.variables ?? {});
  if (has("version") && versionOk) body.version = Number(version);

  const asked = useSettled(JSON.stringify(body));
  const plan = useQuery({
    queryKey: ["runs", "fork-plan", run.id, asked],
    queryFn: () => api.planFork(run.id, JSON.parse(asked) as ForkAsked),
    enabled: ready,
    retry: false,
    placeholderData: keepPreviousData,
  });
  const repeats = plan.data && !plan.isError ? repeatsWords(plan.data) : "";
  const add = (kind: Kind) => setKinds([...kinds, kind]);
  const drop = (kind: Kind) => setKinds(kinds.filter((one) => one !== kind));
  const left = KINDS.filter((kind) => !has(kind) && (kind !== "decision" || ways.length > 0));
  const shown = points.length > POINTS_MAX ? [...points.slice(0, 1), ...points.slice(1 - POINTS_MAX)] : points;
  const [atId, wayId, pathId, versionId] = [useId(), useId(), useId(), useId()];
  return (
    <Ask
      title={`Fork run ${shortId(run.id)}`}
      button={repeats ? `Start the fork, repeating ${repeats}` : "Start the fork"}
      danger={(plan.data?.repeated_effects.irreversible ?? 0) > 0}
      leave="Not now"
      width={920}
      disabled={!ready || !plan.data || plan.isPlaceholderData || plan.isError}
      send={() => api.fork(run.id, body)}
      onDone={onForked}
      onClose={onClose}
    >
      <div className="fork">
        <div className="fork-left">
          <div className="field">
            <label className="fl" htmlFor={atId}>
              Go on after
            </label>
            <select
              id={atId}
              className="in"
              value={byChange && point === null ? CHOSEN_BY_CHANGE : (seq ?? "")}
              disabled={decision !== undefined}
              onChange={(event) =>
                setPoint(event.target.value === CHOSEN_BY_CHANGE ? null : Number(event.target.value))
              }
            >
              {byChange && (
                <option value={CHOSEN_BY_CHANGE}>
                  {decision ? `what came before ${decision.path} decided` : "the last event that allows the change"}
                </option>
              )}
              {shown.map((one) => (
                <option key={one.seq} value={one.seq}>
                  {`event ${one.seq.toLocaleString("en")}: ${one.words}`}
                </option>
              ))}
            </select>
          </div>
          {has("decision") && (
            <Change kind="decision" onDrop={drop}>
              <label className="fl" htmlFor={wayId}>
                Send it another way
              </label>
              <select
                id={wayId}
                className="in"
                value={asks ? key(asks) : ""}
                onChange={(event) => setWay(event.target.value)}
              >
                {ways.map((one) => (
                  <option key={key(one)} value={key(one)}>
                    {`${one.path} goes to ${one.route}`}
                  </option>
                ))}
              </select>
            </Change>
          )}
          {has("output") && (
            <Change kind="output" onDrop={drop}>
              <label className="fl" htmlFor={pathId}>
                Task
              </label>
              <select
                id={pathId}
                className="in"
                value={path}
                onChange={(event) => {
                  setPath(event.target.value);
                  setOutput(null);
                }}
              >
                {path === "" && <option value="">Choose a task</option>}
                {path !== "" && !paths.includes(path) && <option value={path}>{path}</option>}
                {paths.map((one) => (
                  <option key={one} value={one}>
                    {one}
                  </option>
                ))}
              </select>
              {path !== "" && (
                <JsonEditor key={path} label={`Output of ${path}`} value={outputText} onChange={setOutput} />
              )}
            </Change>
          )}
          {has("input") && (
            <Change kind="input" onDrop={drop}>
              <JsonEditor label="Input" value={input} onChange={setInput} />
            </Change>
          )}
          {has("vars") && (
            <Change kind="vars" onDrop={drop}>
              <JsonEditor label="Variables" value={varsText} onChange={setVars} />
              {!varsOk && <p className="hint bad">Variables are an object: a value by name.</p>}
            </Change>
          )}
          {has("version") && (
            <Change kind="version" onDrop={drop}>
              <label className="fl" htmlFor={versionId}>
                Version of the workflow
              </label>
              <input
                id={versionId}
                className="in num"
                inputMode="numeric"
                value={version}
                aria-invalid={!versionOk}
                onChange={(event) => setVersion(event.target.value)}
              />
            </Change>
          )}
          {left.length > 0 && (
            <fieldset className="fork-add">
              <legend className="t12 i2">{kinds.length === 0 ? "What is different" : "Change more"}</legend>
              {left.map((kind) => (
                <button type="button" key={kind} className="btn sm" onClick={() => add(kind)}>
                  <Icon name="plus" size={12} />
                  {NAMES[kind]}
                </button>
              ))}
            </fieldset>
          )}
        </div>
        <section className="fork-right" aria-label="Plan" aria-live="polite">
          {plan.error ? (
            <div className="ban fail">
              <div className="sp">
                <div className="m">This fork can’t be made</div>
                <div className="t12 wrap">{plan.error.message}</div>
              </div>
            </div>
          ) : plan.data ? (
            <ForkPlanView plan={plan.data} />
          ) : (
            <p className="t12 i3">
              {ready
                ? "Asking what that would mean."
                : points.length === 0
                  ? "Reading the journal."
                  : "The plan appears here."}
            </p>
          )}
        </section>
      </div>
    </Ask>
  );
}

function Change({ kind, onDrop, children }: { kind: Kind; onDrop: (kind: Kind) => void; children: ReactNode }) {
  return (
    <fieldset className="fork-change">
      <legend className="hidden-text">{NAMES[kind]}</legend>
      <button
        type="button"
        className="btn ghost icon xs drop"
        onClick={() => onDrop(kind)}
        aria-label={`Leave the ${NAMES[kind].toLowerCase()} as it is`}
        title="Leave it as it is"
      >
        <Icon name="x" size={12} />
      </button>
      {children}
    </fieldset>
  );
}

function begunWith(wish: ForkWish): Kind[] {
  if (wish.decision) return ["decision"];
  if (wish.output) return ["output"];
  return wish.input ? ["input"] : [];
}

type Decided = { path: string; route: string };
const key = (one: Decided) => `${one.path} ${one.route}`;
const isObject = (value: Json): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Only what was changed is sent: the rest stays what the run made of it. */
function changedOnly(given: JsonObject, before: JsonObject): JsonObject {
  const changed = Object.entries(given).filter(
    ([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name]),
  );
  return Object.fromEntries(changed);
}

/** Every route that a task could have taken and didn't; a fork's parent is asked for the decisions of its own. */
function otherWays(view: Props["view"]): Decided[] {
  const here = view.feed.events.flatMap((event) => (event.kind === "decision_made" && event.path ? [event.path] : []));
  return here.slice(-POINTS_MAX).flatMap((path) => {
    const decided = view.fold.tasks[path]?.decision;
    if (!decided) return [];
    const taken = new Set(decided.chosen.map((one) => one.label ?? one.node));
    return decided.allowed.filter((route) => !taken.has(route)).map((route) => ({ path, route }));
  });
}

/** The tasks whose output may be another one: what is open or failed may get one, what completed another. */
function withOutput({ fold }: Props["view"]): string[] {
  return fold.order.filter((path) => fold.tasks[path]?.status !== "skipped").slice(-POINTS_MAX);
}

/** The value once it has stayed the same for a moment. */
function useSettled(value: string): string {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
