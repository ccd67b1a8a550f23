/** What the tests of the rules share: a short way to write a journal and a graph. */
import type { Graph, JournalEvent, Json } from "@/api/types";

const START = Date.UTC(2026, 10, 22, 16, 0, 0);

/** An RFC 3339 time, this many milliseconds after the start of the test's run. */
export const at = (ms: number): string => `${new Date(START + ms).toISOString().slice(0, -1)}000Z`;
export const us = (ms: number): number => (START + ms) * 1000;

type Written = [ms: number, kind: string, node?: string | null, fields?: { [field: string]: Json }];

/** A journal; events at the same millisecond are one group. `path` among the fields overrides the node's own. */
export function journal(...written: Written[]): JournalEvent[] {
  let group = 0;
  return written.map(([ms, kind, node = null, fields = {}], i) => {
    if (i === 0 || written[i - 1]?.[0] !== ms) group = i + 1;
    return { seq: i + 1, group, at: at(ms), kind, node, path: node, ...fields };
  });
}

/** A graph from lines such as `a>b`, `a-yes>b` (label), `a?b` (route), `a!b` (error), `b<a` (back); the first node starts. */
export function graph(...lines: string[]): Graph {
  const edges: Graph["edges"] = lines.map((line) => {
    const [, source = "", label, mark = "", target = ""] = /^(\w+?)(?:-(\w+))?([>?!<])(\w+)$/.exec(line) ?? [];
    const kinds = { ">": label ? "label" : "next", "?": "route", "!": "error", "<": "next" } as const;
    return { source, target, kind: kinds[mark as keyof typeof kinds], label: label ?? null, back: mark === "<" };
  });
  const ids = [...new Set(edges.flatMap((edge) => [edge.source, edge.target]))];
  return {
    edges,
    nodes: ids.map((id, i) => ({
      id,
      class: `${id}Node`,
      decides: edges.some((edge) => edge.source === id && (edge.kind === "route" || edge.kind === "label")),
      effect: "write",
      for_each: false,
      join: edges.filter((edge) => edge.target === id && !edge.back).length > 1,
      start: i === 0,
      end: !edges.some((edge) => edge.source === id),
    })),
  };
}
