/** One line of words for each journal event; what the row says first stands out, the rest is quiet. */
import type { JournalEvent, Json, LiveNotice } from "@/api/types";
import { decisionOf, errorOf } from "./fold";
import { clock, duration, micros, moment } from "./time";

export type JournalWords = {
  lead: string;
  code: string;
  tail: string[];
  tone: "plain" | "decision" | "fail" | "wait" | "doubt";
};

const words = (lead: string, tail: (string | null | undefined | false)[] = [], code = ""): JournalWords => ({
  lead,
  code,
  tail: tail.filter((one): one is string => typeof one === "string" && one !== ""),
  tone: "plain",
});

const str = (value: Json | undefined): string => (typeof value === "string" ? value : "");
const obj = (value: Json | undefined): Record<string, Json> =>
  value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};

/** JSON on one line with spaces after colons and commas, cut at `most` characters. */
export function oneLine(value: Json | undefined, most = 160): string {
  if (value === undefined) return "";
  const blob = obj(value).$blob;
  if (blob) return `${Number(obj(blob).bytes ?? 0).toLocaleString("en")} bytes`;
  let out = "";
  const write = (one: Json): void => {
    if (out.length > most) return;
    if (Array.isArray(one)) {
      out += "[";
      one.forEach((item, i) => {
        if (i > 0) out += ", ";
        write(item);
      });
      out += "]";
    } else if (one !== null && typeof one === "object") {
      out += "{";
      Object.entries(one).forEach(([key, item], i) => {
        if (i > 0) out += ", ";
        out += `${JSON.stringify(key)}: `;
        write(item);
      });
      out += "}";
    } else out += JSON.stringify(one);
  };
  write(value);
  return out.length > most ? `${out.slice(0, most)}…` : out;
}

function took(event: JournalEvent): string {
  const started = str(obj(event.timing).started_at);
  return started ? duration(micros(event.at) - micros(started)) : "";
}

function worker(event: JournalEvent): string {
  const name = str(obj(event.timing).worker) || str(event.worker);
  return name ? `worker ${name}` : "";
}

function reads(event: JournalEvent): string {
  const names = Object.keys(obj(obj(event.reads).nodes)).map((id) => `nodes.${id}`);
  names.push(...Object.keys(obj(obj(event.reads).variables)).map((id) => `vars.${id}`));
  return names.join(", ");
}

function cameFrom(event: JournalEvent): string {
  const previous = obj(event.previous);
  if (typeof previous.path === "string") return previous.path;
  return Object.keys(obj(previous.sources)).join(", ");
}

/** What one wait of a suspended task is for. */
export function waitWords(wait: Json): string {
  const one = obj(wait);
  const until = typeof one.due_us === "number" ? moment(new Date(one.due_us / 1000).toISOString()) : "";
  if (one.kind === "timer") return `until ${until}`;
  if (one.kind === "signal") return `for the signal ${str(one.name)}${until ? ` until ${until}` : ""}`;
  if (one.kind === "child") return `for the run ${str(one.run)} of ${str(one.workflow)}`;
  return str(one.kind);
}

export function describe(event: JournalEvent): JournalWords {
  const error = errorOf(event.error);
  switch (event.kind) {
    case "run_started": {
      const from = obj(event.forked_from);
      return words(`version ${Number(event.version ?? 0)}`, [
        typeof from.run === "string" && `forked from run ${from.run} at event ${Number(from.seq)}`,
        event.input === undefined || event.input === null ? "no input" : `input ${oneLine(event.input)}`,
      ]);
    }
    case "task_scheduled": {
      const read = reads(event);
      const from = cameFrom(event);
      if (typeof event.compensates === "string") return words(`takes back ${event.compensates}`);
      if (typeof event.item === "number") return words(`item ${event.item}`);
      return words(from ? `after ${from}` : "the start", [read && `reads ${read}`, event.join === true && "joins"]);
    }
    case "task_started":
      return words(`attempt ${Number(event.attempt ?? 1)}`, [worker(event), "irreversible: recorded before it begins"]);
    case "step_started":
      return words(str(event.name), ["step begins"]);
    case "step_recorded":
      return error
        ? { ...words(str(event.name), [error.message]), tone: "fail" }
        : words(str(event.name), [str(event.effect)], oneLine(event.result));
    case "decision_made": {
      const decision = decisionOf(event);
      const chosen = decision.chosen.map((one) => (one.label ? `${one.label} → ${one.node}` : one.node)).join(", ");
      return {
        ...words(chosen || "ends this path", [
          decision.reason && `because ${decision.reason}`,
          decision.confidence !== null && `confidence ${decision.confidence.toFixed(2)}`,
          decision.model ?? decision.by,
          decision.allowed.length > 0 && `allowed: ${decision.allowed.join(", ")}`,
        ]),
        tone: "decision",
      };
    }
    case "task_completed":
      return words("", [took(event), worker(event)], oneLine(event.output ?? null));
    case "task_failed": {
      const retry = typeof event.retry_us === "number" ? new Date(event.retry_us / 1000).toISOString() : null;
      return {
        ...words(`${error?.type ?? "error"}: ${error?.message ?? ""}`, [
          `attempt ${Number(event.attempt ?? 1)}`,
          retry ? `again at ${clock(retry)}` : "no further try",
          worker(event),
        ]),
        tone: "fail",
      };
    }
    case "task_skipped":
      return words(str(event.reason) || "when is false");
    case "task_cancelled":
      return words(str(event.reason), [event.unknown === true && "it may have touched the world"]);
    case "task_suspended":
      return {
        ...words(`waits ${(Array.isArray(event.waits) ? event.waits : []).map(waitWords).join(", or ")}`),
        tone: "wait",
      };
    case "task_resumed":
      return words(`woken by ${str(event.by)}`, [str(event.step) && `step ${str(event.step)}`], oneLine(event.result));
    case "task_in_doubt":
      return { ...words(str(event.reason), [`attempt ${Number(event.attempt ?? 1)}`]), tone: "doubt" };
    case "task_resolved":
      return words(str(event.action), [str(event.message), str(event.by) && `by ${str(event.by)}`]);
    case "signal_received":
      return words(str(event.name), [str(event.sender) && `from ${str(event.sender)}`], oneLine(event.payload));
    case "variables_set":
      return words("", [], oneLine(event.values));
    case "run_paused":
    case "run_resumed":
    case "cancel_requested":
      return words(str(event.reason), [str(event.by) && `by ${str(event.by)}`]);
    case "graph_extended":
      return { ...words("lays new nodes", [str(event.reason) && `because ${str(event.reason)}`]), tone: "decision" };
    case "plan_finished":
      return words("what it laid is done");
    case "items_started":
      return words(`${Number(event.count ?? 0).toLocaleString("en")} items`);
    case "compensation_started":
      return words(`takes back ${Number(event.count ?? 0).toLocaleString("en")}, newest first`);
    case "run_continued":
      return words(`goes on as run ${str(event.run)}`);
    case "budget_reserved":
    case "budget_settled":
      return words(str(event.step), [
        Number(event.tokens ?? 0) > 0 && `${Number(event.tokens).toLocaleString("en")} tokens`,
        Number(event.cost_usd ?? 0) > 0 && `$${Number(event.cost_usd)}`,
        event.lost === true && "answer lost",
      ]);
    case "budget_raised":
      return words(`${str(event.budget)} to ${Number(event.limit).toLocaleString("en")}`, [
        str(event.reason),
        str(event.by) && `by ${str(event.by)}`,
      ]);
    case "arrival_swallowed":
      return words(`from ${str(event.source)}`, [str(event.reason)]);
    case "budget_exceeded":
      return { ...words(`${str(event.budget)} ${Number(event.value)} of ${Number(event.limit)}`), tone: "fail" };
    case "run_stopping":
    case "run_failed":
      return error
        ? { ...words(error.message, [error.node && `at ${error.node}`, error.type]), tone: "fail" }
        : words(str(event.cause));
    case "run_succeeded":
      return words("", [], oneLine(event.output ?? null));
    case "run_retried":
      return words(`takes up ${(Array.isArray(event.reopened) ? event.reopened : []).join(", ")}`);
    case "run_cancelled":
      return words(str(event.reason));
    default: {
      const { seq: _s, group: _g, at: _a, kind: _k, path: _p, node: _n, ...rest } = event;
      return words("", [], oneLine(rest as Json));
    }
  }
}

export function describeNotice(notice: LiveNotice): JournalWords {
  const progress =
    notice.total !== null && notice.total !== undefined ? `${notice.done ?? 0} of ${notice.total}` : null;
  return words(notice.kind === "task_started" ? `attempt ${notice.attempt ?? 1}` : "", [
    notice.worker ? `worker ${notice.worker}` : null,
    progress,
    notice.message ? `“${notice.message}”` : null,
  ]);
}

/** Whether a row stays under the filter: its kind, node or path holds the text. */
export function matches(event: { kind: string; node?: string | null; path?: string | null }, filter: string): boolean {
  if (filter === "") return true;
  const wanted = filter.toLowerCase();
  return [event.kind, event.node, event.path].some((one) => one?.toLowerCase().includes(wanted));
}
