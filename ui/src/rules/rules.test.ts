import { describe, expect, test } from "vitest";
import type { RunSummary } from "@/api/types";
import { bannerOf, rowSentence } from "./banner";
import { changes, lineDiff } from "./diff";
import { applyEvent, emptyFold } from "./fold";
import { forkPoints, forkPreview } from "./fork";
import { describeNotice, matches, oneLine, describe as say } from "./journal";
import { arrowAt, directionFor, fromEngine, labelPoint, roundedPath, shortened, sizeOf, toEngine } from "./layout";
import { exampleOf, paramRows } from "./params";
import { backoffMs, EventReader } from "./sse";
import {
  actionsOf,
  countsSentence,
  isTerminal,
  RUN_STATUSES,
  runLook,
  shortId,
  TASK_STATUSES,
  taskLook,
} from "./status";
import { at, graph, journal, us } from "./testing";
import { axisMark, axisStep, clock, duration, localTimes, logLength, micros, moment, offset, stopwatch } from "./time";
import { lanes, timeScale } from "./timeline";
import { trackColumns } from "./track";

describe("statuses", () => {
  test("every status of a run, and every status of a task, has a shape of its own", () => {
    expect(new Set(RUN_STATUSES.map((one) => runLook(one).shape)).size).toBe(8);
    expect(new Set(TASK_STATUSES.map((one) => taskLook(one).shape)).size).toBe(8);
  });
  test("only what is not over can be cancelled, and only a failed run retried", () => {
    for (const status of RUN_STATUSES) {
      expect(actionsOf(status).includes("retry")).toBe(status === "failed");
      if (isTerminal(status)) expect(actionsOf(status)).not.toContain("cancel");
    }
  });
  test("counts leave zeros out", () => {
    const none = {
      total: 5,
      completed: 4,
      failed: 0,
      skipped: 0,
      running: 0,
      waiting: 1,
      in_doubt: 0,
      ready: 0,
      cancelled: 0,
    };
    expect(countsSentence(none)).toBe("4 done, 1 waiting");
  });
  test("a run is called by the end of its id, which no other has", () =>
    expect(shortId("run_azv1ca44whg4cnkb3srb")).toBe("b3srb"));
});

describe("times", () => {
  test.each([
    [300, "< 1 ms"],
    [3_000, "3 ms"],
    [176_400, "176 ms"],
    [999_600, "1.0 s"],
    [4_200_000, "4.2 s"],
    [59_960_000, "1 min"],
    [149_000_000, "2 min 29 s"],
    [693_000_000, "11 min"],
    [11_100_000_000, "3 h 5 min"],
    [187_200_000_000, "2 d 4 h"],
  ])("%d µs reads as %s", (value, words) => expect(duration(value)).toBe(words));
  test("an unknown duration is no text", () => expect(duration(null)).toBe(""));
  test("microseconds survive", () => expect(micros("2026-11-22T16:00:00.123456Z") % 1e6).toBe(123456));
  test("an offset is counted from the start", () => {
    expect(offset(at(187), at(0))).toBe("+0.187 s");
    expect(offset(at(125_000), at(0))).toBe("+2:05 min");
  });
  test("a stopwatch shows tenths in its first minute", () => {
    expect(stopwatch(4_250_000)).toBe("00:04.2");
    expect(stopwatch(11_600_000_000)).toBe("3:13:20");
  });
  test("earlier days carry their date", () => {
    expect(moment("2026-11-20T10:05:00Z", new Date("2026-11-22T10:00:00Z"))).toMatch(/^20 Nov \d\d:\d\d$/);
  });
  test("an axis has round steps, and no more than asked for", () => {
    for (const span of [1e3, 4.2e6, 6.9e8, 8.64e10, 1e13]) expect(span / axisStep(span, 9)).toBeLessThanOrEqual(9);
    expect([0, 250_000, 2_000_000, 300_000_000].map(axisMark)).toEqual(["0 s", "250 ms", "2 s", "5 min"]);
  });
  test("bars grow with the logarithm, within their place", () => {
    const bars = [1, 1e5, 1e6, 1e8, 1e12].map(logLength);
    expect(bars).toEqual([...bars].sort((a, b) => a - b));
    expect(bars.every((one) => one > 0 && one <= 1)).toBe(true);
  });
});

describe("the event stream", () => {
  const whole = ': hello\n\nid: 7\nevent: journal\ndata: {"a":\ndata: 1}\n\nevent: live\ndata: x\n\n';
  const expected = [
    { id: "7", event: "journal", data: '{"a":\n1}' },
    { id: null, event: "live", data: "x" },
  ];
  test("is read the same wherever its chunks are cut", () => {
    for (let cut = 0; cut <= whole.length; cut += 1) {
      const reader = new EventReader();
      expect([...reader.push(whole.slice(0, cut)), ...reader.push(whole.slice(cut))]).toEqual(expected);
    }
  });
  test("may end its lines with CRLF, also cut in between", () => {
    const crlf = whole.replaceAll("\n", "\r\n");
    for (let cut = 0; cut <= crlf.length; cut += 1) {
      const reader = new EventReader();
      expect([...reader.push(crlf.slice(0, cut)), ...reader.push(crlf.slice(cut))].map((one) => one.id)).toEqual([
        "7",
        null,
      ]);
    }
  });
  test("is asked for again later and later, up to a limit", () => {
    expect(backoffMs(0, 0.5)).toBe(500);
    expect(backoffMs(3, 0.5)).toBe(4000);
    expect(backoffMs(99, 1)).toBeLessThanOrEqual(18_750);
  });
});

describe("journal rows", () => {
  const row = (kind: string, fields: Parameters<typeof journal>[0][3]) =>
    say(journal([90, kind, "n", fields])[0] ?? never());
  test("a decision says what, why, who and among what", () => {
    const words = row("decision_made", {
      chosen: [{ node: "b", label: "premium" }],
      allowed: ["b", "c"],
      reason: "it is so",
    });
    expect(words).toEqual({
      lead: "premium → b",
      code: "",
      tail: ["because it is so", "rule", "allowed: b, c"],
      tone: "decision",
    });
  });
  test("a completed task says its output, how long it took and on which worker", () => {
    const words = row("task_completed", { output: { id: "u_1" }, timing: { worker: "w1", started_at: at(14) } });
    expect(words.code).toBe('{"id": "u_1"}');
    expect(words.tail).toEqual(["76 ms", "worker w1"]);
  });
  test("a failed attempt says whether it is tried again", () => {
    const error = { type: "E", message: "m" };
    expect(row("task_failed", { attempt: 3, error }).tail).toContain("no further try");
    expect(row("task_failed", { attempt: 1, error, retry_us: us(5000) }).tail[1]).toMatch(/^again at /);
  });
  test("a wait says for what", () => {
    expect(row("task_suspended", { waits: [{ kind: "signal", name: "go", step: "s" }] }).lead).toBe(
      "waits for the signal go",
    );
  });
  test("a kind of a later release shows its fields", () => {
    expect(row("run_migrated", { to: 2 }).code).toBe('{"to": 2}');
  });
  test("a notice says how far the task is", () => {
    const words = describeNotice({
      kind: "task_progress",
      path: "n",
      node: "n",
      at: at(0),
      worker: "w1",
      done: 2,
      total: 5,
      message: "going",
    });
    expect(words.tail).toEqual(["worker w1", "2 of 5", "“going”"]);
  });
  test("a blob is told by its size, and long values are cut", () => {
    expect(oneLine({ $blob: { bytes: 1234567, sha256: "x" } })).toBe("1,234,567 bytes");
    expect(oneLine("x".repeat(500), 20)).toHaveLength(21);
  });
  test("the filter looks at kind, node and path", () => {
    const event = { kind: "task_completed", node: "step_a", path: "step_a@2" };
    expect([matches(event, "COMPLETED"), matches(event, "a@2"), matches(event, "b"), matches(event, "")]).toEqual([
      true,
      true,
      false,
      true,
    ]);
  });
});

describe("differences", () => {
  test("are told place by place", () => {
    expect(
      changes({ a: 1, b: { c: 2 }, x: [1] }, { a: 1, b: { c: 3, d: 4 } }).map((one) => `${one.kind} ${one.pointer}`),
    ).toEqual(["changed /b/c", "added /b/d", "removed /x"]);
  });
  test("of the same meaning are none, whatever the order of names", () =>
    expect(changes({ a: 1, b: 2 }, { b: 2, a: 1 })).toEqual([]));
  test("names with slashes become pointers", () => expect(changes({}, { "a/b~": 1 })[0]?.pointer).toBe("/a~1b~0"));
  test("of lines give both texts back", () => {
    const [before, after] = ["a\nb\nc\nd\ne", "a\nc\nx\nd\ne\nf"];
    const lines = lineDiff(before, after);
    expect(
      lines
        .filter((one) => one.kind !== "added")
        .map((one) => one.text)
        .join("\n"),
    ).toBe(before);
    expect(
      lines
        .filter((one) => one.kind !== "removed")
        .map((one) => one.text)
        .join("\n"),
    ).toBe(after);
    expect(lines.filter((one) => one.kind !== "same")).toHaveLength(3);
  });
});

describe("the timeline", () => {
  const events = journal(
    [0, "run_started"],
    [0, "task_scheduled", "a"],
    [
      100,
      "task_failed",
      "a",
      { attempt: 1, error: { type: "E", message: "m" }, retry_us: us(400), timing: { started_at: at(20) } },
    ],
    [500, "task_completed", "a", { attempt: 2, arrivals: ["b"], timing: { started_at: at(400) } }],
    [500, "task_scheduled", "b"],
    [510, "task_suspended", "b", { attempt: 1, waits: [] }],
    [600_000, "task_resumed", "b", { step: "s", by: "signal" }],
    [600_100, "task_completed", "b", { attempt: 1, timing: { started_at: at(600_050) } }],
    [600_100, "run_succeeded"],
  );
  const fold = events.reduce(applyEvent, emptyFold());
  const [a, b] = lanes(events, fold);
  test("tells work, failed tries, the pause before a retry, and waits apart", () => {
    expect(a?.segments.map((one) => one.kind)).toEqual(["failed", "pause", "work"]);
    expect(b?.segments.map((one) => one.kind)).toEqual(["work", "wait", "work"]);
    expect(b?.segments[1]).toEqual({ kind: "wait", from: us(510), to: us(600_000) });
    expect(a?.words).toBe("1 try failed · 100 ms");
  });
  test("folds a wait longer than a quarter of the view, and unfolds it when asked", () => {
    const all = lanes(events, fold);
    const scale = timeScale(all, us(0), us(600_100), new Set());
    const folded = scale.pieces.filter((one) => one.folded);
    expect(folded).toHaveLength(1);
    const open = timeScale(all, us(0), us(600_100), new Set([folded[0]?.from ?? 0]));
    expect(open.pieces.some((one) => one.folded)).toBe(false);
  });
  test("never lets time run backwards on its axis", () => {
    const scale = timeScale(lanes(events, fold), us(0), us(600_100), new Set());
    const places = Array.from({ length: 200 }, (_, i) => scale.at(us(i * 3000)));
    expect(places).toEqual([...places].sort((x, y) => x - y));
    expect(scale.at(us(600_100))).toBeCloseTo(1);
  });
  test("shows what runs now as work without an end", () => {
    const open = journal([0, "run_started"], [0, "task_scheduled", "a"]);
    const state = open.reduce(applyEvent, emptyFold());
    const task = state.tasks.a;
    if (task) Object.assign(task, { status: "running", startedAt: at(30) });
    expect(lanes(open, state)[0]?.segments).toEqual([{ kind: "work", from: us(30), to: null }]);
  });
});

describe("layout", () => {
  const measure = (text: string) => text.length * 7;
  const sample = graph("start>route", "route-yes>a", "route-no>b", "a>end", "b>end");
  test("asks for every node and every edge, with room for labels", () => {
    const asked = toEngine(sample, { direction: "down", density: "regular", measure });
    expect(asked.children.map((one) => one.id)).toEqual(["start", "route", "a", "b", "end"]);
    expect(asked.edges).toHaveLength(5);
    expect(new Set(asked.edges.map((one) => one.id)).size).toBe(5);
  });
  test("keeps widths in their limits, and the strip's place before the decision", () => {
    const node = sample.nodes.find((one) => one.id === "route") ?? never();
    const options = { direction: "down", density: "regular", measure } as const;
    expect(sizeOf(node, [], options)).toEqual({ width: 216, height: 108 });
    expect(sizeOf({ ...node, id: "x".repeat(90) }, [], options).width).toBe(300);
    expect(sizeOf({ ...node, id: "x".repeat(90) }, [], { ...options, density: "compact" })).toEqual({
      width: 184,
      height: 48,
    });
  });
  test("leaves out ways to nodes that are not there", () => {
    const broken = {
      ...sample,
      edges: [...sample.edges, { source: "a", target: "gone", kind: "next" as const, label: null, back: false }],
    };
    expect(toEngine(broken, { direction: "down", density: "regular", measure }).edges).toHaveLength(5);
  });
  test("reads the engine's answer back", () => {
    const answer = {
      width: 10,
      height: 20,
      children: [{ id: "start", x: 1, y: 2, width: 3, height: 4 }],
      edges: [
        {
          id: "start>route:next:",
          sections: [{ startPoint: { x: 0, y: 0 }, bendPoints: [{ x: 0, y: 5 }], endPoint: { x: 5, y: 5 } }],
        },
      ],
    };
    const layout = fromEngine(sample, answer);
    expect(layout.edges[0]?.points).toHaveLength(3);
    expect(layout.size).toEqual({ width: 10, height: 20 });
  });
  test("draws right angles with round corners, up to the arrow", () => {
    const points = [
      { x: 0, y: 0 },
      { x: 0, y: 40 },
      { x: 40, y: 40 },
    ];
    expect(roundedPath(points, 10, 6)).toBe("M0 0L0 30Q0 40 10 40L34 40");
    expect(arrowAt(points)).toBe("33,44.5 33,35.5 40,40");
    expect(shortened(points, 5).at(-1)).toEqual({ x: 35, y: 40 });
    expect(labelPoint(points)).toEqual({ x: 0, y: 20 });
  });
  test("runs to the right in a wide pane, down in a tall one", () => {
    expect(directionFor({ width: 1056, height: 372 })).toBe("right");
    expect(directionFor({ width: 932, height: 563 })).toBe("down");
  });
  test("a stamp shows columns by distance from the start", () => {
    expect(trackColumns(sample, 6, 3).map((column) => column.map((node) => node.id))).toEqual([
      ["start"],
      ["route"],
      ["a", "b"],
      ["end"],
    ]);
    expect(trackColumns(graph("a>b", "b<a"), 6, 3)).toHaveLength(2);
  });
});

describe("forks", () => {
  const events = journal(
    [0, "run_started"],
    [0, "task_scheduled", "a"],
    [5, "task_completed", "a", { arrivals: ["b"] }],
    [5, "task_scheduled", "b"],
    [9, "task_completed", "b"],
    [9, "run_succeeded"],
  );
  test("cut only between groups, and never after the end", () => {
    expect(forkPoints(events)).toEqual([
      { seq: 2, words: "run started" },
      { seq: 4, words: "task completed a" },
    ]);
  });
  test("say what is reused and what starts anew", () => {
    expect(forkPreview(events, 4)).toBe("1 result is reused; b starts anew, and what follows.");
  });
});

describe("the one sentence", () => {
  const run: RunSummary = {
    id: "run_1",
    workflow: "W",
    version: 1,
    status: "running",
    error: null,
    labels: {},
    created_at: at(0),
    started_at: at(0),
    finished_at: null,
    parent: null,
    forked_from: null,
    imported: null,
    erased: null,
    continues: null,
    continued_as: null,
    compensation: null,
    cancelled_for: null,
    waiting_for: null,
    seq: 3,
    tasks: {
      total: 3,
      completed: 1,
      failed: 0,
      skipped: 0,
      running: 1,
      waiting: 0,
      in_doubt: 0,
      ready: 0,
      cancelled: 0,
    },
    duration_us: null,
  };
  const waker = {
    kind: "signal",
    path: "w",
    node: "w",
    sentence: "the signal go",
    at: at(600_000),
    name: "go",
    run: null,
    worker: null,
  };

  test("is silent while a run simply runs", () => expect(bannerOf(run, emptyFold(), [])).toBeNull());
  test("names the root failure first, with its tries", () => {
    const fold = journal(
      [0, "task_scheduled", "a"],
      [0, "task_scheduled", "b"],
      [5, "task_failed", "a", { attempt: 3, error: { type: "E", message: "the first" } }],
      [9, "task_failed", "b", { attempt: 1, error: { type: "E", message: "a consequence" } }],
    ).reduce(applyEvent, emptyFold());
    const banner = bannerOf({ ...run, status: "failed" }, fold, []);
    expect(banner).toMatchObject({
      tone: "fail",
      title: "a failed after 3 tries",
      detail: "the first.",
      node: "a",
      action: "retry",
    });
  });
  test("asks about a doubt before anything else that waits", () => {
    const fold = journal(
      [0, "task_scheduled", "pay"],
      [5, "task_in_doubt", "pay", { attempt: 1, reason: "its worker died" }],
    ).reduce(applyEvent, emptyFold());
    expect(bannerOf({ ...run, status: "waiting" }, fold, [])).toMatchObject({
      tone: "doubt",
      action: "resolve",
      node: "pay",
    });
  });
  test("offers the signal that is waited for", () => {
    const waiting: RunSummary = {
      ...run,
      status: "waiting",
      waiting_for: { sentence: "Waits for the signal go", wakers: [waker] },
    };
    const banner = bannerOf(waiting, emptyFold(), []);
    expect(banner).toMatchObject({ action: "signal", signal: "go", title: "Waits for the signal go" });
    expect(rowSentence(waiting)).toEqual({ text: "Waits for the signal go", tone: "wait" });
  });
  test("of a failed row names the node and why", () => {
    const error = {
      type: "E",
      message: "no route",
      path: "c",
      node: "classify",
      attempt: 3,
      retryable: false,
      details: null,
    };
    expect(rowSentence({ ...run, status: "failed", error })).toEqual({ text: "classify: no route", tone: "fail" });
  });
});

describe("a cancelled run", () => {
  const fold = journal([0, "cancel_requested", null, { reason: "wrong customer" }]).reduce(applyEvent, emptyFold());
  test("keeps what the person said", () => expect(fold.cancelReason).toBe("wrong customer"));
});

describe("times in a sentence of the server", () => {
  const at = "2026-11-22T19:09:41.250000Z";
  const now = new Date("2026-11-22T19:08:00Z");
  test("are local, as exact as they were said", () => {
    expect(localTimes("until 19:09 UTC", [null, at], now)).toBe(`until ${clock(at).slice(0, 5)}`);
    expect(localTimes("at 19:09:41 UTC", [at], now)).toBe(`at ${clock(at)}`);
    expect(localTimes("until 2026-11-22 19:09 UTC", [at], now)).toBe(`until ${clock(at).slice(0, 5)}`);
  });
  test("carry their day where it is another", () => {
    const later = new Date("2026-11-25T19:08:00Z");
    expect(localTimes("until 2026-11-22 19:09 UTC", [at], later)).toBe(`until ${moment(at, later)}`);
  });
  test("stay as they are without their moment", () => {
    expect(localTimes("until 19:10 UTC", [at, undefined], now)).toBe("until 19:10 UTC");
    expect(localTimes("until 2026-11-23 19:09 UTC", [at], now)).toBe("until 2026-11-23 19:09 UTC");
  });
});

describe("params of a class", () => {
  const one = {
    name: "HttpRequestNode",
    title: "HTTP request",
    summary: "",
    description: "",
    family: "world",
    icon: null,
    effect: "write" as const,
    routes: null,
    decides: false,
    class_version: 1,
    params_schema: {
      properties: {
        url: { type: "string", description: "Where to" },
        tries: { anyOf: [{ type: "integer" }, { type: "null" }], default: 3 },
      },
      required: ["url"],
    },
    output_schema: null,
    may_use: null,
    max_nodes: null,
    deterministic: null,
  };
  test("are a table of names, types, defaults and words", () => {
    expect(paramRows(one.params_schema)).toEqual([
      { name: "url", type: "string", default: "", description: "Where to", required: true },
      { name: "tries", type: "integer or null", default: "3", description: "", required: false },
    ]);
  });
  test("give the smallest node that uses it", () => {
    expect(exampleOf(one)).toEqual({
      my_http_request: { class: "HttpRequestNode", params: { url: "" }, next_node: "next_step" },
    });
  });
});

function never(): never {
  throw new Error("the test's own data is wrong");
}
