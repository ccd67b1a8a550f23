/** Places in the text of a workflow document: where a fault is, what may be written here, what stands under the pointer. */
import {
  applyEdits,
  findNodeAtLocation,
  format,
  getLocation,
  type Node,
  type ParseError,
  parse,
  parseTree,
  printParseErrorCode,
} from "jsonc-parser";
import type { Fault, Json, JsonObject, NodeClass } from "@/api/types";

export type Span = { from: number; to: number };
export type Problem = Fault & Span & { target: "key" | "value"; severity: "fault" | "hint" };

export const pointerPath = (pointer: string): (string | number)[] =>
  pointer
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));

function find(root: Node, path: readonly (string | number)[]): Node | undefined {
  let node: Node | undefined = root;
  for (const part of path) {
    if (!node) return undefined;
    node = findNodeAtLocation(node, [node.type === "array" ? Number(part) : String(part)]);
  }
  return node;
}

/** Where the fault stands in the text: the value at its pointer, the key of a bulky value, or the nearest place above. */
export function locate(text: string, fault: Fault, severity: Problem["severity"] = "fault"): Problem {
  const root = parseTree(text);
  const path = pointerPath(fault.pointer);
  const missing = { from: 0, to: Math.min(1, text.length), target: "value" as const };
  if (!root) return { ...fault, ...missing, severity };
  for (let length = path.length; length >= 0; length -= 1) {
    const node = find(root, path.slice(0, length));
    if (!node) continue;
    const key = node.parent?.type === "property" ? node.parent.children?.[0] : undefined;
    const bulky = node.type === "object" || node.type === "array";
    const aboutKey = /key|field|property/.test(fault.code) && length === path.length;
    const place = (bulky || aboutKey) && key ? key : node;
    const to = bulky && !key ? place.offset + 1 : place.offset + place.length;
    return { ...fault, from: place.offset, to, target: place === key ? "key" : "value", severity };
  }
  return { ...fault, ...missing, severity };
}

/** The same document with two spaces for each level; its meaning stays, so it is no new version. */
export function formatted(text: string): string {
  const edits = format(text, undefined, { tabSize: 2, insertSpaces: true, eol: "\n", insertFinalNewline: true });
  return applyEdits(text, edits);
}

const SYNTAX: Record<string, string> = {
  InvalidSymbol: "This is not a JSON value",
  InvalidNumberFormat: "This number is not written as JSON asks",
  PropertyNameExpected: "A name in double quotes belongs here",
  ValueExpected: "A value is missing here",
  ColonExpected: "A colon is missing here",
  CommaExpected: "A comma is missing before this",
  CloseBraceExpected: "A closing brace is missing",
  CloseBracketExpected: "A closing bracket is missing",
  EndOfFileExpected: "Nothing may follow the document",
  UnexpectedEndOfComment: "JSON has no comments",
  UnexpectedEndOfString: "The string is not closed",
  InvalidCommentToken: "JSON has no comments",
  InvalidEscapeCharacter: "This escape is unknown to JSON",
  InvalidUnicode: "This escape is no character",
  InvalidCharacter: "This character must be escaped",
};

/** What is wrong with the text as JSON, the first place first; empty if it can be parsed. */
export function syntaxProblems(text: string): Problem[] {
  const errors: ParseError[] = [];
  parse(text, errors, { allowTrailingComma: false, disallowComments: true });
  // What follows the first error is mostly its echo.
  return errors.slice(0, 1).map((error) => {
    const from = Math.min(error.offset, Math.max(0, text.length - 1));
    return {
      pointer: "",
      code: "invalid_json",
      message: `${SYNTAX[printParseErrorCode(error.error)] ?? "This is not JSON"}.`,
      suggestion: null,
      from,
      to: Math.min(text.length, from + Math.max(1, error.length)),
      target: "value" as const,
      severity: "fault" as const,
    };
  });
}

/** The message without its own "did you mean", which is shown as a button. */
export function messageOf(fault: Fault): string {
  const cut = fault.suggestion == null ? fault.message : fault.message.replace(/[;,.]?\s*did you mean.*$/i, "");
  const text = cut.trim().replace(/[;,]$/, "");
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(first) ? first : `${first}.`;
}

/** What to write in place of the problem's span, if the server knows the nearest right thing. */
export function replacement(problem: Problem): string | null {
  return problem.suggestion == null ? null : JSON.stringify(problem.suggestion);
}

// --- completion and hover ------------------------------------------------------------------------------------------

export type Known = { classes: readonly NodeClass[]; schema: JsonObject | null };
export type Option = {
  label: string;
  detail: string;
  info: string;
  apply: string;
  kind: "class" | "node" | "key" | "value" | "expression";
};
export type Completion = Span & { options: Option[] };

type Located = { path: (string | number)[]; isAtPropertyKey: boolean; previousNode?: Node | undefined };

const isObject = (value: Json | undefined): value is JsonObject =>
  value !== null && typeof value === "object" && !Array.isArray(value);

function documentOf(text: string): JsonObject {
  const value = parse(text) as Json | undefined;
  return isObject(value) ? value : {};
}

const nodesOf = (document: JsonObject): JsonObject => (isObject(document.nodes) ? document.nodes : {});

function classNameOf(document: JsonObject, node: string): string {
  const one = nodesOf(document)[node];
  return isObject(one) && typeof one.class === "string" ? one.class : "";
}

export function findClass(name: string, classes: readonly NodeClass[]): NodeClass | undefined {
  return (
    classes.find((one) => one.name === name) ??
    classes.find((one) => one.name === `${name}Node` || `${one.name}Node` === name)
  );
}

/** Every schema that may hold at `path`, following references and alternatives. */
export function schemasAt(root: JsonObject, path: readonly (string | number)[]): JsonObject[] {
  let here = open(root, root);
  for (const part of path) {
    here = here.flatMap((schema) => members(root, schema, part)).flatMap((schema) => open(root, schema));
  }
  return here;
}

function open(root: JsonObject, schema: Json | undefined, depth = 0): JsonObject[] {
  if (!isObject(schema) || depth > 8) return [];
  if (typeof schema.$ref === "string" && schema.$ref.startsWith("#/")) {
    let target: Json | undefined = root;
    for (const part of pointerPath(schema.$ref.slice(1))) target = isObject(target) ? target[String(part)] : undefined;
    return open(root, target, depth + 1).map((one) => ({
      ...one,
      ...(schema.description ? { description: schema.description } : {}),
    }));
  }
  const branches = ["anyOf", "oneOf", "allOf"].flatMap((key) =>
    Array.isArray(schema[key]) ? (schema[key] as Json[]) : [],
  );
  return [schema, ...branches.flatMap((one) => open(root, one, depth + 1))];
}

function members(root: JsonObject, schema: JsonObject, part: string | number): JsonObject[] {
  const found: (Json | undefined)[] = [];
  if (isObject(schema.properties) && String(part) in schema.properties) found.push(schema.properties[String(part)]);
  else if (isObject(schema.patternProperties)) {
    for (const [pattern, one] of Object.entries(schema.patternProperties)) {
      if (new RegExp(pattern).test(String(part))) found.push(one);
    }
  }
  if (found.length === 0 && isObject(schema.additionalProperties)) found.push(schema.additionalProperties);
  if (typeof part === "number" || /^\d+$/.test(String(part))) found.push(schema.items);
  return found.flatMap((one) => open(root, one));
}

/** The schema of this place: of the document, or inside params of the node's class. */
function schemasFor(path: readonly (string | number)[], document: JsonObject, known: Known): JsonObject[] {
  if (path[0] === "nodes" && path[2] === "params" && path.length >= 3) {
    const declared = findClass(classNameOf(document, String(path[1])), known.classes);
    return declared?.params_schema ? schemasAt(declared.params_schema, path.slice(3)) : [];
  }
  return known.schema ? schemasAt(known.schema, path) : [];
}

const firstWords = (schema: JsonObject | undefined): string =>
  typeof schema?.description === "string" ? schema.description : typeof schema?.title === "string" ? schema.title : "";

const typeWords = (schema: JsonObject): string =>
  Array.isArray(schema.enum)
    ? schema.enum.map((one) => JSON.stringify(one)).join(" | ")
    : typeof schema.type === "string"
      ? schema.type
      : Array.isArray(schema.type)
        ? schema.type.join(" | ")
        : "";

const NODE_VALUES = new Set(["next_node", "routes", "on_error"]);

/** Whether a node id belongs at this place. */
function wantsNode(path: readonly (string | number)[]): boolean {
  return (path.length === 1 && path[0] === "start_at") || (path[0] === "nodes" && NODE_VALUES.has(String(path[2])));
}

/** What may be written at `offset`. */
export function complete(text: string, offset: number, known: Known): Completion | null {
  const location: Located = getLocation(text, offset);
  const { path } = location;
  const document = documentOf(text);
  const inside = location.previousNode;
  const covers = inside && inside.offset <= offset && offset <= inside.offset + inside.length;
  const expression = covers && inside.type === "string" ? expressionAt(text, offset, inside, document) : null;
  if (expression) return expression;
  const span = covers ? { from: inside.offset, to: inside.offset + inside.length } : wordAt(text, offset);
  const options = location.isAtPropertyKey
    ? keyOptions(path, documentOf(text.slice(0, span.from) + text.slice(span.to)), known, text.slice(span.to))
    : valueOptions(path, document, known);
  return options.length > 0 ? { ...span, options } : null;
}

function wordAt(text: string, offset: number): Span {
  let from = offset;
  while (from > 0 && /[\w"*]/.test(text.charAt(from - 1))) from -= 1;
  let to = offset;
  while (to < text.length && /[\w"]/.test(text.charAt(to))) to += 1;
  return { from, to };
}

/** `document` is read without the word at the cursor, so that a half-written name doesn't hide its neighbours. */
function keyOptions(path: (string | number)[], document: JsonObject, known: Known, after: string): Option[] {
  const parent = path.slice(0, -1);
  const hasColon = /^\s*:/.test(after);
  const comma = /^\s*"/.test(after) ? "," : "";
  let present: Json | undefined = document;
  for (const part of parent) present = isObject(present) ? present[String(part)] : undefined;
  const there = new Set(isObject(present) ? Object.keys(present) : []);
  const key = (name: string, detail: string, info: string, value: string): Option => ({
    label: name,
    detail,
    info,
    apply: hasColon ? JSON.stringify(name) : `${JSON.stringify(name)}: ${value}${comma}`,
    kind: "key",
  });
  if (parent[0] === "nodes" && parent[2] === "next_node" && parent.length === 3) {
    const declared = findClass(classNameOf(document, String(parent[1])), known.classes);
    const labels = Array.isArray(declared?.routes) ? declared.routes : [];
    return [...labels, "*"]
      .filter((label) => !there.has(label))
      .map((label) => key(label, label === "*" ? "the rest" : "route", "", '""'));
  }
  const options = new Map<string, Option>();
  for (const schema of schemasFor(parent, document, known)) {
    if (!isObject(schema.properties)) continue;
    for (const [name, one] of Object.entries(schema.properties)) {
      if (there.has(name) || options.has(name) || !isObject(one)) continue;
      const [shape = {}] = open(known.schema ?? {}, one);
      options.set(name, key(name, typeWords(shape), firstWords(one), stubOf(shape)));
    }
  }
  return [...options.values()];
}

function stubOf(schema: JsonObject): string {
  if (schema.type === "object") return "{}";
  if (schema.type === "array") return "[]";
  if (schema.type === "string") return '""';
  return schema.default === undefined ? '""' : JSON.stringify(schema.default);
}

function valueOptions(path: (string | number)[], document: JsonObject, known: Known): Option[] {
  if (path[0] === "nodes" && path[2] === "class" && path.length === 3) {
    return known.classes.map((one) => ({
      label: one.name,
      detail: one.family,
      info: one.summary || one.description,
      apply: JSON.stringify(one.name),
      kind: "class" as const,
    }));
  }
  if (wantsNode(path)) {
    const own = path[0] === "nodes" ? path[1] : null;
    return Object.keys(nodesOf(document))
      .filter((id) => id !== own)
      .map((id) => ({
        label: id,
        detail: classNameOf(document, id),
        info: "",
        apply: JSON.stringify(id),
        kind: "node" as const,
      }));
  }
  const seen = new Map<string, Option>();
  for (const schema of schemasFor(path, document, known)) {
    const values = Array.isArray(schema.enum)
      ? schema.enum
      : schema.const !== undefined
        ? [schema.const]
        : schema.type === "boolean"
          ? [true, false]
          : [];
    for (const value of values) {
      const apply = JSON.stringify(value);
      if (!seen.has(apply)) {
        seen.set(apply, { label: String(value), detail: "", info: "", apply, kind: "value" });
      }
    }
  }
  return [...seen.values()];
}

const NAMES: [string, string][] = [
  ["input", "the run’s input"],
  ["nodes", "outputs of nodes, by id"],
  ["vars", "variables of the workflow"],
  ["previous", "the output that led here"],
  ["run", "the run: id, workflow, version"],
  ["now", "the time at which the task was scheduled"],
  ["secrets", "secrets of the server, by name"],
];

/** Inside `{{ … }}`: the names an expression may read. */
function expressionAt(text: string, offset: number, string: Node, document: JsonObject): Completion | null {
  const before = text.slice(string.offset, offset);
  const opened = before.lastIndexOf("{{");
  if (opened < 0 || before.indexOf("}}", opened) >= 0) return null;
  const word = /(?:(nodes|vars)\.)?([\w-]*)$/.exec(before);
  if (!word) return null;
  const [, under, typed = ""] = word;
  const option = (label: string, detail: string): Option => ({
    label,
    detail,
    info: "",
    apply: label,
    kind: "expression",
  });
  const from = offset - typed.length;
  if (under === "nodes") {
    const ids = Object.keys(nodesOf(document)).filter((id) => /^\w+$/.test(id));
    return { from, to: offset, options: ids.map((id) => option(id, classNameOf(document, id))) };
  }
  if (under === "vars") {
    const vars = isObject(document.vars) ? Object.keys(document.vars) : [];
    return vars.length > 0 ? { from, to: offset, options: vars.map((name) => option(name, "variable")) } : null;
  }
  if (/\.\s*[\w-]*$/.test(before)) return null;
  return { from, to: offset, options: NAMES.map(([name, what]) => option(name, what)) };
}

export type Hover = Span & { title: string; tags: string[]; text: string };

/** What stands under the pointer: a class with its docs, a node with its class, a key with its description. */
export function hoverAt(text: string, offset: number, known: Known): Hover | null {
  const location: Located = getLocation(text, offset);
  const node = location.previousNode;
  if (!node || offset < node.offset || offset > node.offset + node.length) return null;
  const span = { from: node.offset, to: node.offset + node.length };
  const { path } = location;
  const document = documentOf(text);
  const value = String(node.value);
  if (!location.isAtPropertyKey && path[0] === "nodes" && path[2] === "class") {
    const declared = findClass(value, known.classes);
    if (!declared) return null;
    const routes = declared.routes === "*" ? ["may choose any node"] : (declared.routes ?? []).map((one) => `→ ${one}`);
    return {
      ...span,
      title: declared.title || declared.name,
      tags: [declared.effect, ...routes],
      text: declared.description || declared.summary,
    };
  }
  if (!location.isAtPropertyKey && wantsNode(path)) {
    const declared = findClass(classNameOf(document, value), known.classes);
    return declared ? { ...span, title: value, tags: [declared.name], text: declared.summary } : null;
  }
  if (location.isAtPropertyKey) {
    if (path[0] === "nodes" && path.length === 2) {
      const declared = findClass(classNameOf(document, value), known.classes);
      return declared ? { ...span, title: value, tags: [declared.name], text: declared.summary } : null;
    }
    const schema = schemasFor(path, document, known).find((one) => firstWords(one) !== "");
    return schema
      ? { ...span, title: value, tags: typeWords(schema) ? [typeWords(schema)] : [], text: firstWords(schema) }
      : null;
  }
  return null;
}

/**
 * Inputs worth trying: values that classes of this document take from the run's input, whatever their params say.
 * A class says so with `"x-input": true` beside an enum in its params schema.
 */
export function suggestedInputs(
  document: JsonObject,
  classes: readonly NodeClass[],
): { name: string; values: Json[] }[] {
  const found = new Map<string, Json[]>();
  for (const [id, node] of Object.entries(nodesOf(document))) {
    const properties = findClass(classNameOf(document, id), classes)?.params_schema?.properties;
    if (!isObject(properties) || !isObject(node)) continue;
    for (const [name, schema] of Object.entries(properties)) {
      if (!isObject(schema) || schema["x-input"] !== true) continue;
      const shapes = open(
        { properties, $defs: findClass(classNameOf(document, id), classes)?.params_schema?.$defs ?? {} },
        schema,
      );
      const values = shapes.flatMap((one) =>
        Array.isArray(one.enum) ? one.enum : one.const !== undefined ? [one.const] : [],
      );
      if (values.length > 0) found.set(name, values);
    }
  }
  return [...found].map(([name, values]) => ({ name, values }));
}
