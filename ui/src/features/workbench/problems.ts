/** How problems look in the editor: a tinted line, a wave under the place, a shape in the gutter, the words below. */
import { isolateHistory } from "@codemirror/commands";
import { type Extension, RangeSet, RangeSetBuilder, StateEffect, StateField, type Text } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, GutterMarker, gutter, WidgetType } from "@codemirror/view";
import { messageOf, type Problem, replacement } from "@/rules/document";

export const showProblems = StateEffect.define<readonly Problem[]>();

const SVG = "http://www.w3.org/2000/svg";

function shape(severity: Problem["severity"]): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("width", "12");
  svg.setAttribute("height", "12");
  svg.setAttribute("class", severity === "fault" ? "ic c-fail" : "ic c-wait");
  const draw = (d: string, attributes: Record<string, string>) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    for (const [name, value] of Object.entries(attributes)) path.setAttribute(name, value);
    svg.append(path);
  };
  const line = { fill: "none", "stroke-width": "1.6", "stroke-linecap": "round", "stroke-linejoin": "round" };
  if (severity === "fault") {
    draw("M5.3 1.5h5.4l3.8 3.8v5.4l-3.8 3.8H5.3L1.5 10.7V5.3z", { fill: "currentColor" });
    draw("M5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4", { ...line, stroke: "var(--surface)" });
  } else {
    draw("M8 2.5 14 13H2zM8 6.5v3M8 11.3v.1", { ...line, stroke: "currentColor" });
  }
  return svg;
}

/** Words with `names` in mono. */
function words(parent: HTMLElement, text: string): void {
  for (const [i, part] of text.split("`").entries()) {
    const node = document.createElement("span");
    if (i % 2 === 1) node.className = "mono";
    node.textContent = part;
    parent.append(node);
  }
}

class Words extends WidgetType {
  constructor(readonly problem: Problem) {
    super();
  }
  override eq(other: Words): boolean {
    return JSON.stringify(other.problem) === JSON.stringify(this.problem);
  }
  override toDOM(view: EditorView): HTMLElement {
    const { problem } = this;
    const row = document.createElement("div");
    row.className = `diag ${problem.severity}`;
    const text = document.createElement("span");
    text.className = "sp";
    const first = document.createElement("b");
    words(first, messageOf(problem));
    text.append(first);
    row.append(text);
    const insert = replacement(problem);
    if (insert !== null) {
      text.append(" Did you mean ");
      const name = document.createElement("span");
      name.className = "mono";
      name.textContent = problem.suggestion ?? "";
      text.append(name, "?");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "btn xs";
      button.textContent = "Replace";
      button.addEventListener("click", () => {
        const now = view.state
          .field(field)
          .problems.find((one) => one.pointer === problem.pointer && one.code === problem.code);
        const { from, to } = now ?? problem;
        view.dispatch({
          changes: { from, to, insert },
          selection: { anchor: from + insert.length - 1 },
          // A step of its own, however soon after the typing it comes: Undo takes back this and no more.
          annotations: isolateHistory.of("full"),
        });
        view.focus();
      });
      row.append(button);
    }
    return row;
  }
  override ignoreEvent(): boolean {
    return true;
  }
}

class Mark extends GutterMarker {
  constructor(readonly severity: Problem["severity"]) {
    super();
  }
  override eq(other: Mark): boolean {
    return other.severity === this.severity;
  }
  override toDOM(): Node {
    return shape(this.severity);
  }
}

type Shown = { problems: readonly Problem[]; decorations: DecorationSet; marks: RangeSet<GutterMarker> };

function draw(problems: readonly Problem[], doc: Text): Shown {
  const sorted = [...problems].sort((a, b) => a.from - b.from);
  const ranges = [];
  const marks = new RangeSetBuilder<GutterMarker>();
  const lines = new Set<number>();
  for (const problem of sorted) {
    const from = Math.min(problem.from, doc.length);
    const to = Math.min(Math.max(problem.to, from), doc.length);
    const line = doc.lineAt(from);
    if (!lines.has(line.number)) {
      lines.add(line.number);
      ranges.push(Decoration.line({ class: problem.severity === "fault" ? "bad" : "odd" }).range(line.from));
      marks.add(line.from, line.from, new Mark(problem.severity));
    }
    const end = Math.min(to, line.to);
    if (end > from) ranges.push(Decoration.mark({ class: `sq ${problem.severity}` }).range(from, end));
    ranges.push(Decoration.widget({ widget: new Words(problem), block: true, side: 1 }).range(line.to));
  }
  return { problems: sorted, decorations: Decoration.set(ranges, true), marks: marks.finish() };
}

const field = StateField.define<Shown>({
  create: () => ({ problems: [], decorations: Decoration.none, marks: RangeSet.empty }),
  update(shown, transaction) {
    for (const effect of transaction.effects) {
      if (effect.is(showProblems)) return draw(effect.value, transaction.state.doc);
    }
    if (!transaction.docChanged) return shown;
    // Until the server has read the new text, old problems move along with their places.
    return {
      problems: shown.problems.map((one) => ({
        ...one,
        from: transaction.changes.mapPos(one.from, 1),
        to: transaction.changes.mapPos(one.to, -1),
      })),
      decorations: shown.decorations.map(transaction.changes),
      marks: shown.marks.map(transaction.changes),
    };
  },
  provide: (self) => EditorView.decorations.from(self, (shown) => shown.decorations),
});

export function problemsExtension(): Extension {
  return [
    field,
    gutter({
      class: "cm-problems",
      markers: (view) => view.state.field(field).marks,
      initialSpacer: () => new Mark("fault"),
    }),
  ];
}
