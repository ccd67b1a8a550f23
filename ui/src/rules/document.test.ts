import { describe, expect, test } from "vitest";
import type { JsonObject, NodeClass } from "@/api/types";
import {
  complete,
  formatted,
  hoverAt,
  locate,
  messageOf,
  replacement,
  suggestedInputs,
  syntaxProblems,
} from "./document";

const nodeClass = (name: string, more: Partial<NodeClass> = {}): NodeClass => ({
  name,
  title: name,
  summary: `${name} does its work.`,
  description: "",
  family: "flow",
  icon: null,
  effect: "write",
  routes: null,
  decides: false,
  class_version: 1,
  params_schema: null,
  output_schema: null,
  may_use: null,
  max_nodes: null,
  deterministic: null,
  ...more,
});

const classes = [
  nodeClass("StartNode"),
  nodeClass("IfNode", { routes: ["true", "false"], decides: true }),
  nodeClass("WaitNode", {
    params_schema: {
      properties: {
        mode: { $ref: "#/$defs/Mode", "x-input": true },
        urgent: { type: "boolean", description: "Skip the queue" },
      },
      $defs: { Mode: { enum: ["for", "until"], description: "How it waits" } },
    },
  }),
];
const schema: JsonObject = {
  properties: {
    name: { type: "string", description: "What it is called" },
    start_at: { type: "string" },
    nodes: { type: "object", additionalProperties: { $ref: "#/$defs/node" } },
  },
  $defs: {
    node: {
      properties: {
        class: { type: "string" },
        params: { type: "object" },
        when: { type: "string", description: "An expression" },
      },
    },
  },
};
const known = { classes, schema };

/** The text with the cursor, marked by |, taken out. */
function at(marked: string) {
  const offset = marked.indexOf("|");
  return { text: marked.replace("|", ""), offset };
}
function labels(marked: string): string[] {
  const { text, offset } = at(marked);
  return complete(text, offset, known)?.options.map((option) => option.label) ?? [];
}

describe("completion", () => {
  test("offers the names of the document that are not there yet", () => {
    expect(labels('{"name": "x", |}')).toEqual(["start_at", "nodes"]);
  });
  test("knows the names that follow a half-written one, and puts a comma before them", () => {
    const { text, offset } = at('{"na|" "nodes": {}, "start_at": "a"}');
    const found = complete(text, offset, known);
    expect(found?.options.map((option) => option.apply)).toEqual(['"name": "",']);
  });
  test("offers node ids where a node belongs, but not the node itself", () => {
    const marked = '{"start_at": "a", "nodes": {"a": {"class": "StartNode", "next_node": "|"}, "b": {}, "c": {}}}';
    expect(labels(marked)).toEqual(["b", "c"]);
    expect(labels('{"start_at": "|", "nodes": {"a": {}, "b": {}}}')).toEqual(["a", "b"]);
  });
  test("replaces the whole string, quotes included", () => {
    const { text, offset } = at('{"start_at": "xy|z", "nodes": {"a": {}}}');
    const found = complete(text, offset, known);
    expect(text.slice(found?.from, found?.to)).toBe('"xyz"');
    expect(found?.options[0]?.apply).toBe('"a"');
  });
  test("offers classes", () =>
    expect(labels('{"nodes": {"a": {"class": "|"}}}')).toEqual(["StartNode", "IfNode", "WaitNode"]));
  test("offers a class's params, also by its name without the ending", () => {
    expect(labels('{"nodes": {"a": {"class": "Wait", "params": {|}}}}')).toEqual(["mode", "urgent"]);
  });
  test("offers the values of a param, through references", () => {
    expect(labels('{"nodes": {"a": {"class": "WaitNode", "params": {"mode": "|"}}}}')).toEqual(["for", "until"]);
    expect(labels('{"nodes": {"a": {"class": "WaitNode", "params": {"urgent": |}}}}')).toEqual(["true", "false"]);
  });
  test("offers the labels of a deciding class", () => {
    expect(labels('{"nodes": {"a": {"class": "IfNode", "next_node": {|}}}}')).toEqual(["true", "false", "*"]);
  });
  test("offers names inside an expression, and node ids behind nodes.", () => {
    expect(labels('{"nodes": {"a": {"params": {"x": "{{ in| }}"}}}}')).toContain("input");
    expect(labels('{"nodes": {"a": {"params": {"x": "{{ nodes.| }}"}}, "b": {}}}')).toEqual(["a", "b"]);
  });
  test("is silent in a plain string", () => expect(labels('{"name": "a|b"}')).toEqual([]));
});

describe("hover", () => {
  const hover = (marked: string) => {
    const { text, offset } = at(marked);
    return hoverAt(text, offset, known);
  };
  test("tells what a class does", () => {
    expect(hover('{"nodes": {"a": {"class": "If|Node"}}}')).toMatchObject({
      title: "IfNode",
      tags: ["write", "→ true", "→ false"],
    });
  });
  test("tells what a field is for", () =>
    expect(hover('{"na|me": "x"}')).toMatchObject({ title: "name", text: "What it is called" }));
  test("tells the class of a node that is named", () => {
    expect(hover('{"start_at": "a|", "nodes": {"a": {"class": "StartNode"}}}')).toMatchObject({
      title: "a",
      tags: ["StartNode"],
    });
  });
});

describe("problems", () => {
  const text = '{"nodes": {"a": {"class": "X", "next_node": "b_typo"}, "b": {}}}';
  const fault = (pointer: string, code = "unknown_node", suggestion: string | null = null) => ({
    pointer,
    code,
    message: "m",
    suggestion,
  });
  const shown = (pointer: string, code?: string) => {
    const problem = locate(text, fault(pointer, code));
    return text.slice(problem.from, problem.to);
  };
  test("stand at the value of their pointer", () => expect(shown("/nodes/a/next_node")).toBe('"b_typo"'));
  test("stand at the key where the value is bulky, or the key is what is wrong", () => {
    expect(shown("/nodes/a")).toBe('"a"');
    expect(shown("/nodes/a/class", "unknown_field")).toBe('"class"');
  });
  test("stand at the nearest place above where nothing is at the pointer", () => {
    expect(shown("/nodes/b/class")).toBe('"b"');
    expect(shown("")).toBe("{");
    expect(shown("/nowhere/at/all")).toBe("{");
  });
  test("are mended by writing the suggestion over the place", () => {
    const problem = locate(text, fault("/nodes/a/next_node", "unknown_node", "b"));
    const mended = text.slice(0, problem.from) + replacement(problem) + text.slice(problem.to);
    expect(JSON.parse(mended).nodes.a.next_node).toBe("b");
  });
  test("don't say twice what the button says", () => {
    const one = {
      pointer: "",
      code: "c",
      message: "no node `step_ned`; did you mean `step_end`?",
      suggestion: "step_end",
    };
    expect(messageOf(one)).toBe("No node `step_ned`.");
    expect(messageOf({ ...one, suggestion: null })).toBe("No node `step_ned`; did you mean `step_end`?");
  });
  test("of the JSON itself are found where they are", () => {
    expect(syntaxProblems('{"a": 1}')).toEqual([]);
    const [first] = syntaxProblems('{"a": 1 "b": 2}');
    expect(first).toMatchObject({ message: "A comma is missing before this.", from: 8 });
    expect(syntaxProblems("")[0]?.code).toBe("invalid_json");
  });
});

test("inputs worth trying come from the classes that take them", () => {
  expect(suggestedInputs({ nodes: { a: { class: "Wait" }, b: { class: "StartNode" } } }, classes)).toEqual([
    { name: "mode", values: ["for", "until"] },
  ]);
});

test("formatting keeps the meaning and the order", () => {
  const text = '{"b":1,"a":{"x":[1,2]}}';
  expect(JSON.stringify(JSON.parse(formatted(text)))).toBe(text);
  expect(formatted(text)).toContain('\n  "b": 1,');
});
