/** A graph as a small track drawing: columns by distance from the start, deciding nodes in iris. */
import type { Graph } from "@/api/types";
import { trackColumns } from "@/rules/track";

const [WIDE, HIGH, W, H, GAP] = [300, 96, 40, 16, 26];

export function TrackDrawing({ graph }: { graph: Graph }) {
  const columns = trackColumns(graph, 6, 3);
  const width = columns.length * W + (columns.length - 1) * GAP;
  const at = new Map<string, { x: number; y: number }>();
  columns.forEach((column, c) => {
    column.forEach((node, r) => {
      at.set(node.id, { x: c * (W + GAP), y: HIGH / 2 - H / 2 + (r - (column.length - 1) / 2) * 28 });
    });
  });
  const forward = graph.edges.filter((edge) => !edge.back);
  // One way from node to node: a plain one stands for those on error too, and is drawn after them.
  const ordered = [
    ...forward.filter((edge) => edge.kind === "error"),
    ...forward.filter((edge) => edge.kind !== "error"),
  ];
  const ways = [...new Map(ordered.map((edge) => [`${edge.source}>${edge.target}`, edge])).values()];
  return (
    <svg width="100%" height={HIGH} viewBox={`0 0 ${Math.max(WIDE, width + 24)} ${HIGH}`} aria-hidden="true">
      <g transform={`translate(${(Math.max(WIDE, width + 24) - width) / 2} 0)`}>
        {ways.map((edge) => {
          const [from, to] = [at.get(edge.source), at.get(edge.target)];
          if (!from || !to || to.x <= from.x) return null;
          // A way past a column is drawn only where nothing nearer leads to its end: the stamp stays clear.
          const near = (x: number) => to.x === x + W + GAP;
          if (!near(from.x) && ways.some((one) => one.target === edge.target && near(at.get(one.source)?.x ?? -1)))
            return null;
          return (
            <Way
              key={`${edge.source}>${edge.target}`}
              error={edge.kind === "error"}
              from={{ x: from.x + W, y: from.y + H / 2 }}
              to={{ x: to.x, y: to.y + H / 2 }}
            />
          );
        })}
        {columns.flat().map((node) => {
          const place = at.get(node.id);
          return place ? (
            <rect
              key={node.id}
              x={place.x}
              y={place.y}
              width={W}
              height={H}
              rx="4"
              className={node.decides ? "g i" : "g"}
            />
          ) : null;
        })}
      </g>
    </svg>
  );
}

type Point = { x: number; y: number };

function Way({ from, to, error }: { from: Point; to: Point; error: boolean }) {
  const middle = from.x + GAP / 2 - 2;
  const r = Math.min(8, Math.abs(to.y - from.y) / 2);
  const down = Math.sign(to.y - from.y);
  const path =
    down === 0
      ? `M${from.x} ${from.y}H${to.x - 6}`
      : `M${from.x} ${from.y}H${middle - r}Q${middle} ${from.y} ${middle} ${from.y + r * down}V${to.y - r * down}Q${middle} ${to.y} ${middle + r} ${to.y}H${to.x - 6}`;
  return (
    <>
      <path className={error ? "way err" : "way"} d={path} />
      <polygon
        className={error ? "way-end err" : "way-end"}
        points={`${to.x - 7},${to.y - 4} ${to.x - 7},${to.y + 4} ${to.x - 1},${to.y}`}
      />
    </>
  );
}
