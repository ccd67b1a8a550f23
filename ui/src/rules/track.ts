/** A graph in a few columns, for a drawing the size of a stamp. */
import type { Graph, GraphNode } from "@/api/types";

/** Nodes by their longest distance from the start, without ways back; at most `columns` of `rows` nodes each. */
export function trackColumns(graph: Graph, columns: number, rows: number): GraphNode[][] {
  const depth = new Map<string, number>();
  for (const node of graph.nodes) if (node.start) depth.set(node.id, 0);
  const forward = graph.edges.filter((edge) => !edge.back);
  for (let round = 0; round < graph.nodes.length; round += 1) {
    let moved = false;
    for (const edge of forward) {
      const from = depth.get(edge.source);
      if (from !== undefined && (depth.get(edge.target) ?? -1) < from + 1 && from + 1 < graph.nodes.length) {
        depth.set(edge.target, from + 1);
        moved = true;
      }
    }
    if (!moved) break;
  }
  const found: GraphNode[][] = [];
  for (const node of graph.nodes) {
    const at = depth.get(node.id);
    if (at === undefined) continue;
    const column = found[at] ?? [];
    column.push(node);
    found[at] = column;
  }
  return Array.from(found, (column) => (column ?? []).slice(0, rows)).slice(0, columns);
}
