/** How nodes and edges of a graph look, given what a run is at: pure, and the same for workbench and run page. */
import type { Graph, GraphEdge, TaskStatus, WaitingJoin } from "@/api/types";
import { isOpen, latestByNode, type RunFold, shownStatus, type TaskState, way } from "./fold";

export type EdgeLook = "idle" | "taken" | "live" | "wait" | "off" | "poss" | "err" | "back";
/**
 * `status`: what is shown of the task; of one with items, how these are. `join`: how many arrivals it waits with.
 * `undoes`: the nodes that it takes back, if it is a compensation. `over`: whether the run has ended.
 */
export type NodeLook = {
  task: TaskState | null;
  status: TaskStatus | null;
  visits: number;
  off: boolean;
  join: WaitingJoin | null;
  undoes: readonly string[];
  over: boolean;
};

/** Which nodes each compensation node takes back. */
export function compensations(graph: Graph): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (const edge of graph.edges) {
    if (edge.kind !== "compensate") continue;
    found[edge.target] ??= [];
    found[edge.target]?.push(edge.source);
  }
  return found;
}

/** A run that is over leaves nothing possible; before that, whatever a live task can still reach. */
export function stillPossible(graph: Graph, fold: RunFold): Set<string> {
  const possible = new Set<string>();
  if (fold.ended) return possible;
  const latest = latestByNode(fold);
  const outs = new Map<string, GraphEdge[]>();
  for (const edge of graph.edges) {
    if (edge.kind === "compensate") continue;
    const list = outs.get(edge.source);
    if (list) list.push(edge);
    else outs.set(edge.source, [edge]);
  }
  const queue: string[] = [];
  for (const node of graph.nodes) {
    const task = latest[node.id];
    if (task && isOpen(task.status)) queue.push(node.id);
    // An arrival that waits in a join has no task yet.
    if (!task && graph.edges.some((edge) => edge.target === node.id && fold.taken[way(edge.source, edge.target)])) {
      possible.add(node.id);
      queue.push(node.id);
    }
  }
  if (fold.order.length === 0) for (const node of graph.nodes) if (node.start) queue.push(node.id);
  const seen = new Set(queue);
  for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
    possible.add(id);
    for (const edge of outs.get(id) ?? []) {
      if (!seen.has(edge.target)) {
        seen.add(edge.target);
        queue.push(edge.target);
      }
    }
  }
  return possible;
}

export function nodeLooks(
  graph: Graph,
  fold: RunFold | null,
  joins: Readonly<Record<string, WaitingJoin>> = {},
): Record<string, NodeLook> {
  const looks: Record<string, NodeLook> = {};
  const apart = compensations(graph);
  const known = fold !== null && (fold.seq > 0 || fold.order.length > 0);
  const latest = known ? latestByNode(fold) : {};
  const visits: Record<string, number> = {};
  for (const path of known ? fold.order : []) {
    const node = fold?.tasks[path]?.node;
    if (node) visits[node] = (visits[node] ?? 0) + 1;
  }
  const possible = known ? stillPossible(graph, fold) : null;
  for (const node of graph.nodes) {
    const task = latest[node.id] ?? null;
    looks[node.id] = {
      task,
      status: task && fold ? shownStatus(task, fold) : null,
      visits: visits[node.id] ?? 0,
      off: possible !== null && !task && !possible.has(node.id),
      join: joins[node.id] ?? null,
      undoes: apart[node.id] ?? [],
      over: fold?.ended !== null && fold !== null,
    };
  }
  return looks;
}

export function edgeLook(edge: GraphEdge, looks: Record<string, NodeLook>, fold: RunFold | null): EdgeLook {
  const plain: EdgeLook = edge.kind === "error" ? "err" : edge.back ? "back" : "idle";
  if (!fold || fold.seq === 0) return plain;
  const target = looks[edge.target];
  if (fold.taken[way(edge.source, edge.target)]) {
    const status = target?.status;
    // Of several ways in, all that were taken lead to what goes on now.
    const held = fold.paused || fold.spentOut.length > 0;
    if (status === "running" || (status === "ready" && !held)) return "live";
    if (status === "waiting" || status === "in_doubt") return "wait";
    return "taken";
  }
  const source = looks[edge.source];
  const over = source?.task ? !isOpen(source.task.status) : (source?.off ?? true);
  const settled = over && (source?.task?.status !== "completed" || decidedElsewhere(edge, source.task) || !edge.back);
  return settled || fold.ended ? "off" : plain;
}

function decidedElsewhere(edge: GraphEdge, task: TaskState): boolean {
  return task.decision !== null && !task.decision.chosen.some((one) => one.node === edge.target);
}

/** The order edges are drawn in: what matters most on top. */
export const EDGE_ORDER: Record<EdgeLook, number> = {
  off: 0,
  idle: 1,
  back: 1,
  poss: 2,
  err: 3,
  taken: 4,
  wait: 5,
  live: 6,
};

/** More edges than this in motion, and none moves: the shapes say it all. */
export const LIVE_EDGES_MAX = 50;

/** Cut a long name in the middle, where names differ least. */
export function middleCut(name: string, most: number): string {
  if (name.length <= most) return name;
  const head = Math.ceil((most - 1) / 2);
  return `${name.slice(0, head)}…${name.slice(name.length - (most - 1 - head))}`;
}

export const STATUS_CLASS: Record<TaskStatus, string> = {
  ready: "",
  running: "running",
  waiting: "waiting",
  in_doubt: "doubt",
  completed: "",
  failed: "failed",
  skipped: "off",
  cancelled: "withdrawn",
};

/** The icon of a node, from what its class says, else from its name. */
export function iconOf(
  declared: string | null | undefined,
  className: string,
  known: (name: string) => boolean,
): string {
  if (declared && known(declared)) return declared;
  const name = className.toLowerCase();
  const guess: [RegExp, string][] = [
    [/^start/, "flag"],
    [/^(end|stop)/, "end"],
    [/^(if|switch|route|decide|router)/, "route"],
    [/agent|plan/, "agent"],
    [/mail/, "mail"],
    [/wait|timer|sleep|delay/, "clock"],
    [/approv/, "approve"],
    [/workflow/, "flow"],
    [/http|request|webhook/, "globe"],
    [/get|query|database|load|read/, "db"],
    [/set|template|convert/, "tool"],
    [/user|support|customer|person/, "user"],
    [/pay|refund|invoice/, "coin"],
  ];
  return guess.find(([pattern]) => pattern.test(name))?.[1] ?? "bolt";
}
