/** From a graph to what the layout engine is asked, and from its answer to what is drawn. No engine in here. */
import type { Graph, GraphEdge, GraphNode, LaidPlan } from "@/api/types";

export type Direction = "down" | "right";
export type Density = "regular" | "compact";
export type Point = { x: number; y: number };
export type Size = { width: number; height: number };

/** Text widths in pixels; the page measures, tests estimate. */
export type Measure = (text: string, font: "title" | "class" | "pill") => number;

export type Placed = { id: string; x: number; y: number; width: number; height: number };
/** `laid`: it leads from a planning node to what it laid. */
export type Routed = { id: string; edge: GraphEdge; points: Point[]; laid?: boolean };
/** A place of its own in the drawing: what takes back, or what a node laid into the run. */
export type Frame = { id: string; kind: "compensation" | "plan"; label: string; x: number; y: number } & Size;
export type Layout = { nodes: Placed[]; edges: Routed[]; size: Size; frames: Frame[] };

export const STRIP_HEIGHT = 52;
const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));

export const edgeId = (edge: GraphEdge): string => `${edge.source}>${edge.target}:${edge.kind}:${edge.label ?? ""}`;

/** A node's own name: of one that a plan laid, without the path of the plan. */
export const nameOf = (id: string): string => id.slice(id.lastIndexOf("/") + 1);

/** Start and end are pills, or round stations where the track runs to the right. */
export function isPill(node: GraphNode, hasOut: boolean): boolean {
  return (
    !node.decides && ((node.start && /^start/i.test(node.class)) || (node.end && !hasOut && /^end/i.test(node.class)))
  );
}

/** How much room a node needs: its width fits the id, and the strip of a decision has its place before it is made. */
export function sizeOf(
  node: GraphNode,
  outs: readonly GraphEdge[],
  { direction, density, measure }: { direction: Direction; density: Density; measure: Measure },
  loops = false,
): Size {
  const pills = outs.filter((edge) => edge.kind === "label").map((edge) => measure(edge.label ?? "", "pill") + 18);
  if (isPill(node, outs.length > 0)) {
    if (density === "compact" && direction === "right") return { width: 32, height: 32 };
    return { width: Math.ceil(measure(nameOf(node.id), "title")) + 72, height: 32 };
  }
  const across = direction === "down" ? pills.reduce((sum, width) => sum + width + 14, 0) : 0;
  const along = direction === "right" && pills.length > 0 ? (pills.length + 1) * 24 : 0;
  if (density === "compact") {
    const width =
      72 + Math.max(measure(nameOf(node.id), "title") * 0.93 + (loops ? 22 : 0), measure(node.class, "class") + 34);
    // Beside the class there is room for how far a list is, and how many of it failed.
    const most = node.for_each ? 236 : 184;
    const wanted = node.for_each ? width + 100 : width;
    return {
      width: Math.ceil(clamp(Math.max(wanted, across), node.for_each ? 200 : 160, Math.max(most, across))),
      height: Math.max(48, along),
    };
  }
  const width = 64 + Math.max(measure(nameOf(node.id), "title") + 22, measure(node.class, "class") + 60);
  return {
    width: Math.ceil(clamp(Math.max(width, across), 216, Math.max(300, across))),
    height: Math.max(56 + (node.decides ? STRIP_HEIGHT : 0), along),
  };
}

/** Plain ways out share one handle; each label, error and way back has its own, and so has each route of a wide card. */
function outPort(edge: GraphEdge, right: boolean): string {
  const shared = edge.label === null && !edge.back && (edge.kind === "next" || (edge.kind === "route" && right));
  return shared ? `${edge.source} out` : `${edgeId(edge)} out`;
}

/** Ways in meet at one point where the track runs to the right; from above, each has its place on the wide side. */
function inPort(edge: GraphEdge, right: boolean): string {
  return right && !edge.back ? `${edge.target} in` : `${edgeId(edge)} in`;
}

export type EngineGraph = {
  id: string;
  layoutOptions: Record<string, string>;
  children: {
    id: string;
    width: number;
    height: number;
    layoutOptions: Record<string, string>;
    ports: { id: string; layoutOptions: Record<string, string> }[];
  }[];
  edges: { id: string; sources: string[]; targets: string[]; layoutOptions?: Record<string, string> }[];
};

/** Where the track runs to the right, the labels on it need their width between the cards. */
function gapRight(edges: readonly GraphEdge[], measure: Measure): number {
  const labels = edges.filter((edge) => edge.kind === "label").map((edge) => measure(edge.label ?? "", "pill") + 46);
  return Math.ceil(Math.max(44, edges.some((edge) => edge.kind === "error") ? 104 : 0, ...labels));
}

export type Drawn = { direction: Direction; density: Density; measure: Measure };

/** Compensation nodes: they stand apart from the flow, and no track leads to them. */
export function nodesApart(graph: Graph): Set<string> {
  const targets = new Set(graph.edges.filter((edge) => edge.kind === "compensate").map((edge) => edge.target));
  for (const edge of graph.edges) if (edge.kind !== "compensate") targets.delete(edge.target);
  return targets;
}

const APART = { gap: 36, from: 48, pad: 16, head: 38 };

/** Lay what stands apart beside the flow: in rows below it where it runs to the right, else in a column beside it. */
export function withApart(layout: Layout, graph: Graph, options: Drawn): Layout {
  const apart = nodesApart(graph);
  if (apart.size === 0) return layout;
  const right = options.direction === "right";
  const { gap, from, pad, head } = APART;
  const [left, top] = right ? [pad, layout.size.height + from + head] : [layout.size.width + from + pad, pad + head];
  const most = right ? Math.max(720, layout.size.width) : Math.max(480, layout.size.height);
  const nodes: Placed[] = [];
  let [x, y, line, wide, high] = [left, top, 0, 0, 0];
  for (const node of graph.nodes) {
    if (!apart.has(node.id)) continue;
    const size = sizeOf(node, [], options);
    if (right ? x > left && x + size.width > most : y > top && y + size.height > most) {
      if (right) [x, y] = [left, y + line + gap];
      else [x, y] = [x + line + gap, top];
      line = 0;
    }
    nodes.push({ id: node.id, x, y, ...size });
    line = Math.max(line, right ? size.height : size.width);
    wide = Math.max(wide, x + size.width);
    high = Math.max(high, y + size.height);
    if (right) x += size.width + gap;
    else y += size.height + gap;
  }
  const frame: Frame = {
    id: "compensation",
    kind: "compensation",
    label: "Takes back, newest first, if the run fails or is cancelled",
    x: left - pad,
    y: top - pad - head,
    width: wide - left + 2 * pad,
    height: high - top + 2 * pad + head,
  };
  frame.width = Math.max(frame.width, options.measure(frame.label, "class") + 2 * pad);
  return {
    nodes: [...layout.nodes, ...nodes],
    edges: layout.edges,
    frames: [...layout.frames, frame],
    size: {
      width: Math.max(layout.size.width, frame.x + frame.width),
      height: Math.max(layout.size.height, frame.y + frame.height),
    },
  };
}

/** One plan's graph, laid out by itself. */
export type Block = { plan: LaidPlan; layout: Layout };

/** At most so many plans are drawn, the newest. */
export const BLOCKS_MAX = 8;

/** Put each plan in a frame of its own: below its run's graph, or beside it, with a track from the node that laid it. */
export function withBlocks(layout: Layout, blocks: readonly Block[], options: Drawn): Layout {
  const right = options.direction === "right";
  const { from, pad, head } = APART;
  const whole: Layout = { ...layout, nodes: [...layout.nodes], edges: [...layout.edges], frames: [...layout.frames] };
  for (const { plan, layout: own } of blocks) {
    const planner = whole.nodes.find((node) => node.id === plan.node);
    const count = own.nodes.length;
    const why = plan.reason ? `: ${plan.reason}` : "";
    const label = middle(`${plan.path} laid ${count === 1 ? "1 node" : `${count} nodes`}${why}`, 90);
    const width = Math.max(own.size.width + 2 * pad, options.measure(label, "class") + 2 * pad);
    const height = own.size.height + 2 * pad + head - 8;
    const middleOf = planner ? { x: planner.x + planner.width / 2, y: planner.y + planner.height / 2 } : { x: 0, y: 0 };
    const x = right ? Math.max(0, middleOf.x - width / 2) : whole.size.width + from;
    const y = right ? whole.size.height + from : Math.max(0, middleOf.y - height / 2, lowest(whole, "plan") + 24);
    whole.frames.push({ id: `plan ${plan.path}`, kind: "plan", label, x, y, width, height });
    const [dx, dy] = [x + pad, y + pad + head - 12];
    const moved = (point: Point): Point => ({ x: point.x + dx, y: point.y + dy });
    for (const node of own.nodes) whole.nodes.push({ ...node, ...moved(node) });
    for (const edge of own.edges) whole.edges.push({ ...edge, points: edge.points.map(moved) });
    if (planner) {
      const start = right
        ? { x: middleOf.x, y: planner.y + planner.height }
        : { x: planner.x + planner.width, y: middleOf.y };
      const end = right
        ? { x: Math.min(Math.max(middleOf.x, x + 12), x + width - 12), y }
        : { x, y: Math.min(Math.max(middleOf.y, y + 12), y + height - 12) };
      const target = `${plan.path}/${plan.start_at}`;
      whole.edges.push({
        id: `${plan.path} laid`,
        edge: { source: plan.node, target, kind: "route", label: null, back: false },
        points: start.x === end.x || start.y === end.y ? [start, end] : elbow(start, end, right),
        laid: true,
      });
    }
    // What comes below must not lie on this one; in a drawing that runs down the frames stand beside one another.
    whole.size = right
      ? { width: Math.max(whole.size.width, x + width), height: y + height }
      : { width: whole.size.width, height: Math.max(whole.size.height, y + height) };
  }
  const ends = whole.frames.map((frame) => frame.x + frame.width);
  return { ...whole, size: { ...whole.size, width: Math.max(whole.size.width, ...ends) } };
}

const lowest = (layout: Layout, kind: Frame["kind"]): number =>
  layout.frames.reduce((low, frame) => (frame.kind === kind ? Math.max(low, frame.y + frame.height) : low), -24);

const elbow = (start: Point, end: Point, right: boolean): Point[] =>
  right
    ? [start, { x: start.x, y: (start.y + end.y) / 2 }, { x: end.x, y: (start.y + end.y) / 2 }, end]
    : [start, { x: (start.x + end.x) / 2, y: start.y }, { x: (start.x + end.x) / 2, y: end.y }, end];

const middle = (text: string, most: number): string => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);

export function toEngine(whole: Graph, options: Drawn): EngineGraph {
  const apart = nodesApart(whole);
  const graph = { ...whole, nodes: whole.nodes.filter((node) => !apart.has(node.id)) };
  const known = new Set(graph.nodes.map((node) => node.id));
  const edges = graph.edges.filter(
    (edge) => edge.kind !== "compensate" && known.has(edge.source) && known.has(edge.target),
  );
  const outs = new Map<string, GraphEdge[]>();
  for (const edge of edges) outs.set(edge.source, [...(outs.get(edge.source) ?? []), edge]);
  const loops = edges.some((edge) => edge.back);
  const right = options.direction === "right";
  return {
    id: "root",
    layoutOptions: {
      "elk.algorithm": "layered",
      "elk.direction": right ? "RIGHT" : "DOWN",
      "elk.edgeRouting": "ORTHOGONAL",
      "elk.layered.spacing.nodeNodeBetweenLayers": String(right ? gapRight(edges, options.measure) : 36),
      "elk.spacing.nodeNode": right ? "28" : "56",
      "elk.spacing.edgeNode": "20",
      "elk.spacing.edgeEdge": "14",
      "elk.layered.spacing.edgeNodeBetweenLayers": "16",
      "elk.layered.spacing.edgeEdgeBetweenLayers": "12",
      "elk.layered.considerModelOrder.strategy": "NODES_AND_EDGES",
      "elk.layered.nodePlacement.strategy": "BRANDES_KOEPF",
      "elk.layered.nodePlacement.bk.fixedAlignment": "BALANCED",
      "elk.layered.crossingMinimization.forceNodeModelOrder": graph.nodes.length > 200 ? "false" : "true",
      "elk.separateConnectedComponents": "true",
      "elk.padding": "[top=8,left=8,bottom=8,right=8]",
    },
    children: graph.nodes.map((node) => {
      const own = outs.get(node.id) ?? [];
      const leaving = own.map((edge) => outPort(edge, right));
      const arriving = edges.filter((edge) => edge.target === node.id).map((edge) => inPort(edge, right));
      return {
        id: node.id,
        ...sizeOf(node, own, options, loops),
        layoutOptions: {
          "elk.portConstraints": "FIXED_SIDE",
          ...(node.start && { "elk.layered.layering.layerConstraint": "FIRST" }),
        },
        ports: [
          ...[...new Set(arriving)].map((id) => ({ id, layoutOptions: { "elk.port.side": right ? "WEST" : "NORTH" } })),
          ...[...new Set(leaving)].map((id) => ({ id, layoutOptions: { "elk.port.side": right ? "EAST" : "SOUTH" } })),
        ],
      };
    }),
    edges: edges.map((edge) => ({
      id: edgeId(edge),
      sources: [outPort(edge, right)],
      targets: [inPort(edge, right)],
      layoutOptions: { "elk.layered.priority.direction": edge.back ? "0" : "10" },
    })),
  };
}

export type EngineAnswer = {
  width?: number;
  height?: number;
  children?: { id: string; x?: number; y?: number; width?: number; height?: number }[];
  edges?: { id: string; sections?: { startPoint: Point; bendPoints?: Point[]; endPoint: Point }[] }[];
};

export function fromEngine(graph: Graph, answer: EngineAnswer): Layout {
  const byId = new Map(graph.edges.map((edge) => [edgeId(edge), edge]));
  const edges: Routed[] = [];
  for (const one of answer.edges ?? []) {
    const edge = byId.get(one.id);
    const section = one.sections?.[0];
    if (!edge || !section) continue;
    edges.push({ id: one.id, edge, points: [section.startPoint, ...(section.bendPoints ?? []), section.endPoint] });
  }
  return {
    nodes: (answer.children ?? []).map((child) => ({
      id: child.id,
      x: child.x ?? 0,
      y: child.y ?? 0,
      width: child.width ?? 0,
      height: child.height ?? 0,
    })),
    edges,
    frames: [],
    size: { width: answer.width ?? 0, height: answer.height ?? 0 },
  };
}

/** A path through the points with corners of `radius`, ending `short` before the last point, where the arrow begins. */
export function roundedPath(points: readonly Point[], radius: number, short: number): string {
  const [first] = points;
  if (!first || points.length < 2) return "";
  let path = `M${first.x} ${first.y}`;
  for (let i = 1; i < points.length; i += 1) {
    const [before, here, next] = [points[i - 1], points[i], points[i + 1]];
    if (!before || !here) break;
    const arrive = distance(before, here);
    if (!next) {
      const end = toward(here, before, Math.min(short, arrive));
      path += `L${round(end.x)} ${round(end.y)}`;
      break;
    }
    const r = Math.min(radius, arrive / 2, distance(here, next) / 2);
    const [from, to] = [toward(here, before, r), toward(here, next, r)];
    path += `L${round(from.x)} ${round(from.y)}Q${round(here.x)} ${round(here.y)} ${round(to.x)} ${round(to.y)}`;
  }
  return path;
}

/** The same points with the end moved back by `by`, at most to the middle of the last piece. */
export function shortened(points: readonly Point[], by: number): Point[] {
  const end = points.at(-1);
  const before = points.at(-2);
  if (!end || !before) return [...points];
  return [...points.slice(0, -1), toward(end, before, Math.min(by, distance(end, before) / 2))];
}

/** The arrow's three corners at the end of a track. */
export function arrowAt(points: readonly Point[], length = 7, half = 4.5): string {
  const end = points.at(-1);
  const before = points.at(-2);
  if (!end || !before) return "";
  const size = distance(before, end) || 1;
  const [dx, dy] = [(end.x - before.x) / size, (end.y - before.y) / size];
  const base = { x: end.x - dx * length, y: end.y - dy * length };
  return [
    `${round(base.x - dy * half)},${round(base.y + dx * half)}`,
    `${round(base.x + dy * half)},${round(base.y - dx * half)}`,
    `${round(end.x)},${round(end.y)}`,
  ].join(" ");
}

/** The middle of the longest straight piece: where a label has room. */
export function labelPoint(points: readonly Point[]): Point {
  let best: Point = points[0] ?? { x: 0, y: 0 };
  let longest = -1;
  for (let i = 1; i < points.length; i += 1) {
    const [a, b] = [points[i - 1], points[i]];
    if (!a || !b) continue;
    const length = distance(a, b);
    if (length > longest) {
      longest = length;
      best = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
    }
  }
  return best;
}

const distance = (a: Point, b: Point): number => Math.hypot(b.x - a.x, b.y - a.y);
const round = (value: number): number => Math.round(value * 10) / 10;
function toward(from: Point, to: Point, by: number): Point {
  const length = distance(from, to) || 1;
  return { x: from.x + ((to.x - from.x) / length) * by, y: from.y + ((to.y - from.y) / length) * by };
}

/** Right in a wide pane, down in a tall one. */
export const directionFor = (pane: Size): Direction => (pane.width / Math.max(1, pane.height) > 2 ? "right" : "down");
