/** Params of a node class as a table, and the smallest node that uses the class. */
import type { Json, JsonObject, NodeClass } from "@/api/types";
import { schemasAt } from "./document";

export type ParamRow = { name: string; type: string; default: string; description: string; required: boolean };

const isObject = (value: Json | undefined): value is JsonObject =>
  value !== null && typeof value === "object" && !Array.isArray(value);

function typeOf(schemas: readonly JsonObject[]): string {
  const names = schemas.flatMap((schema) => {
    if (Array.isArray(schema.enum)) return schema.enum.map((one) => JSON.stringify(one));
    if (schema.const !== undefined) return [JSON.stringify(schema.const)];
    if (Array.isArray(schema.type)) return schema.type.map(String);
    return typeof schema.type === "string" ? [schema.type] : [];
  });
  return [...new Set(names)].join(" or ") || "any";
}

export function paramRows(schema: JsonObject | null): ParamRow[] {
  if (!schema || !isObject(schema.properties)) return [];
  const required = Array.isArray(schema.required) ? schema.required : [];
  return Object.entries(schema.properties).map(([name, one]) => ({
    name,
    type: typeOf(schemasAt(schema, [name])),
    default: isObject(one) && one.default !== undefined ? JSON.stringify(one.default) : "",
    description: isObject(one) && typeof one.description === "string" ? one.description : "",
    required: required.includes(name),
  }));
}

export function exampleOf(one: NodeClass): JsonObject {
  const node: JsonObject = { class: one.name };
  const needed = paramRows(one.params_schema).filter((row) => row.required);
  if (needed.length > 0) {
    node.params = Object.fromEntries(
      needed.map((row) => [
        row.name,
        row.type === "number" || row.type === "integer" ? 1 : row.type === "boolean" ? true : "",
      ]),
    );
  }
  if (one.decides && Array.isArray(one.routes) && one.routes.every((route) => route === "true" || route === "false")) {
    node.next_node = Object.fromEntries(one.routes.map((route) => [route, `node_if_${route}`]));
  } else if (!one.decides && !/^(End|Stop)/.test(one.name)) node.next_node = "next_step";
  return {
    [`my_${one.name
      .replace(/Node$/, "")
      .replace(/(?<!^)([A-Z])/g, "_$1")
      .toLowerCase()}`]: node,
  };
}
