/** The document's two ways of writing. The server reads YAML; here it is only told apart, coloured and written. */
import type { Fault, Json } from "@/api/types";
import type { Problem } from "./document";

export type Syntax = "json" | "yaml";

/** A document is an object: JSON begins with its brace, and what doesn't is YAML. An empty text is JSON to be. */
export const syntaxOf = (text: string): Syntax => (/^\s*(\{|$)/.test(text) ? "json" : "yaml");

/** Words that YAML readers take for something else than text, of any of its versions. */
const NOT_PLAIN = /^(true|false|null|yes|no|on|off|y|n|~|\.inf|\.nan)$/i;

function scalar(text: string): string {
  const plain =
    /^[A-Za-z_][A-Za-z0-9_ ./()@-]*$/.test(text) &&
    !text.endsWith(" ") &&
    !text.includes(" #") &&
    !NOT_PLAIN.test(text);
  return plain ? text : JSON.stringify(text);
}

function lines(value: Json, indent: string): string[] {
  if (Array.isArray(value)) {
    return value.flatMap((item) => {
      const [first = "", ...rest] = isNested(item) ? lines(item, `${indent}  `) : [flat(item)];
      return [`${indent}- ${first.trimStart()}`, ...rest];
    });
  }
  if (value !== null && typeof value === "object") {
    return Object.entries(value).flatMap(([name, item]) =>
      isNested(item)
        ? [`${indent}${scalar(name)}:`, ...lines(item, `${indent}  `)]
        : [`${indent}${scalar(name)}: ${flat(item)}`],
    );
  }
  return [`${indent}${flat(value)}`];
}

const isNested = (value: Json): boolean =>
  value !== null && typeof value === "object" && (Array.isArray(value) ? value : Object.keys(value)).length > 0;

function flat(value: Json): string {
  if (typeof value === "string") return scalar(value);
  if (Array.isArray(value)) return "[]";
  return value !== null && typeof value === "object" ? "{}" : JSON.stringify(value);
}

/** The same meaning as YAML, in blocks. */
export const toYaml = (value: Json): string => `${lines(value, "").join("\n")}\n`;

/** Where a fault of YAML stands: the server says its line and column, from 1. */
export function locateLine(text: string, fault: Fault, severity: Problem["severity"] = "fault"): Problem {
  let from = 0;
  for (let line = 1; line < (fault.line ?? 1); line += 1) {
    const end = text.indexOf("\n", from);
    if (end < 0) break;
    from = end + 1;
  }
  const newline = text.indexOf("\n", from);
  const end = newline < 0 ? text.length : newline;
  from = Math.min(from + (fault.column ?? 1) - 1, end);
  const word = /^\S[^\s:,\]}]*/.exec(text.slice(from, end))?.[0].length ?? 0;
  return { ...fault, from, to: Math.min(end, from + Math.max(1, word)), target: "value", severity };
}
