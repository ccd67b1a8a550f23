/** Another run from any point of this one: what it changes, and, before it starts, what that means. */
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useEffect, useId, useMemo, useState } from "react";
import { api, type ForkAsked } from "@/api/calls";
import type { ForkPlan, Json, JsonObject } from "@/api/types";
import { JsonField, readJson } from "@/design/JsonField";
import { Prose } from "@/design/Prose";
import { forkPoints } from "@/rules/fork";
import { shortId } from "@/rules/status";
import { Ask, type Props } from "./RunDialogs";

const SETTLE_MS = 300;
const SHOWN = 8;
const WHERE_DECIDED = "decided";

type Decided = { path: string; route: string };

export function ForkDialog({ run, view, onClose, onForked, decision }: Props & { decision?: Decided | undefined }) {
  const points = useMemo(() => forkPoints(view.feed.events), [view.feed.events]);
  const ways = useMemo(() => otherWays(view), [view]);
  const [seq, setSeq] = useState(() => points.at(run.finished_at ? 0 : -1)?.seq ?? 1);
  const [way, setWay] = useState(() => (decision ? key(decision) : ""));
  const [input, setInput] = useState(() => JSON.stringify(run.input, null, 2));
  const [variables, setVariables] = useState("{}");
  const [version, setVersion] = useState(String(run.version));
  const [atId, wayId, versionId] = [useId(), useId(), useId()];
  const chosen = ways.find((one) => key(one) === way);
  const parsed = readJson(input);
  const vars = readJson(variables);
  const varsOk = vars.ok && isObject(vars.value);
  const ready = parsed.ok && varsOk && points.length > 0;
  const body: ForkAsked = chosen ? { decisions: { [chosen.path]: [chosen.route] } } : { seq };
  if (parsed.ok && JSON.stringify(parsed.value) !== JSON.stringify(run.input)) body.input = parsed.value;
  if (vars.ok && isObject(vars.value) && Object.keys(vars.value).length > 0) body.vars = vars.value;
  if (Number(version) !== run.version) body.version = Number(version);
  const asked = useSettled(JSON.stringify(body));
  const plan = useQuery({
    queryKey: ["runs", "fork-plan", run.id, asked],
    queryFn: () => api.planFork(run.id, JSON.parse(asked) as ForkAsked),
    enabled: ready,
    retry: false,
    placeholderData: keepPreviousData,
  });
  return (
    <Ask
      title={`Fork run ${shortId(run.id)}`}
      button="Start the fork"
      leave="Not now"
      width={600}
      disabled={!ready || plan.isError}
      send={() => api.fork(run.id, body)}
      onDone={onForked}
      onClose={onClose}
    >
      <div className="field">
        <label className="fl" htmlFor={atId}>
          Go on after
        </label>
        <select
          id={atId}
          className="in"
          value={chosen ? WHERE_DECIDED : seq}
          disabled={chosen !== undefined}
          onChange={(event) => setSeq(Number(event.target.value))}
        >
          {chosen && <option value={WHERE_DECIDED}>{`what came before ${chosen.path} decided`}</option>}
          {points.map((point) => (
            <option key={point.seq} value={point.seq}>
              {`event ${point.seq}: ${point.words}`}
            </option>
          ))}
        </select>
      </div>
      {ways.length > 0 && (
        <div className="field">
          <label className="fl" htmlFor={wayId}>
            Send it another way
          </label>
          <select id={wayId} className="in" value={way} onChange={(event) => setWay(event.target.value)}>
            <option value="">Every task decides as it does</option>
            {ways.map((one) => (
              <option key={key(one)} value={key(one)}>
                {`${one.path} goes to ${one.route}`}
              </option>
            ))}
          </select>
        </div>
      )}
      <div className="field">
        <JsonField label="Input" value={input} onChange={setInput} rows={5} />
      </div>
      <div className="field">
        <JsonField label="Variables to change" value={variables} onChange={setVariables} rows={2} />
        {vars.ok && !varsOk && <p className="hint bad">Variables are an object: a value by name.</p>}
      </div>
      <div className="field">
        <label className="fl" htmlFor={versionId}>
          Version
        </label>
        <input
          id={versionId}
          className="in"
          type="number"
          min={1}
          value={version}
          onChange={(event) => setVersion(event.target.value)}
        />
      </div>
      <section aria-label="Plan" aria-live="polite">
        {plan.error && <p className="hint bad">{plan.error.message}</p>}
        {!plan.error && plan.data && <Plan plan={plan.data} />}
      </section>
    </Ask>
  );
}

function Plan({ plan }: { plan: ForkPlan }) {
  const { repeats, starts, later } = plan;
  const again = [...starts.items, ...later.items];
  return (
    <>
      <p className="i2">
        <Prose text={plan.sentence} />
      </p>
      {again.length > 0 && (
        <p className="hint">
          {`Runs: ${again
            .slice(0, SHOWN)
            .map((task) => task.path)
            .join(", ")}${more(starts.total + later.total)}`}
        </p>
      )}
      {repeats.items.length > 0 && (
        <ul className="names">
          {repeats.items.slice(0, SHOWN).map((one) => (
            <li key={one.path}>
              <span className="b">{one.path}</span>
              <span className="i3 t12">
                {` repeats ${one.effect === "irreversible" ? "an irreversible" : "a write"} effect`}
                {one.steps.length > 0 && `: ${one.steps.map((step) => step.name).join(", ")}`}
              </span>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

const more = (total: number) => (total > SHOWN ? ` and ${total - SHOWN} more` : "");
const key = (one: Decided) => `${one.path} ${one.route}`;
const isObject = (value: Json): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Every route that a task could have taken and didn't; a fork's parent is asked for the decisions of its own. */
function otherWays(view: Props["view"]): Decided[] {
  const here = view.feed.events.flatMap((event) => (event.kind === "decision_made" && event.path ? [event.path] : []));
  return here.flatMap((path) => {
    const decided = view.fold.tasks[path]?.decision;
    if (!decided) return [];
    const taken = new Set(decided.chosen.map((one) => one.label ?? one.node));
    return decided.allowed.filter((route) => !taken.has(route)).map((route) => ({ path, route }));
  });
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
