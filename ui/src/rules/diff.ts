/** How two JSON documents differ, place by place. */
import type { Json } from "@/api/types";

export type Change = { pointer: string; kind: "added" | "removed" | "changed"; before?: Json; after?: Json };

const pointerKey = (key: string): string => key.replaceAll("~", "~0").replaceAll("/", "~1");
const isMap = (value: Json): value is { [key: string]: Json } =>
  value !== null && typeof value === "object" && !Array.isArray(value);

/** Every place where the documents differ, outermost first. Members of objects are compared by name, lists by position. */
export function changes(before: Json, after: Json, pointer = ""): Change[] {
  if (isMap(before) && isMap(after)) {
    const found: Change[] = [];
    for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
      const at = `${pointer}/${pointerKey(key)}`;
      const [old, now] = [before[key], after[key]];
      if (old === undefined && now !== undefined) found.push({ pointer: at, kind: "added", after: now });
      else if (now === undefined && old !== undefined) found.push({ pointer: at, kind: "removed", before: old });
      else if (old !== undefined && now !== undefined) found.push(...changes(old, now, at));
    }
    return found;
  }
  if (Array.isArray(before) && Array.isArray(after) && before.length === after.length) {
    return before.flatMap((old, i) => changes(old, after[i] ?? null, `${pointer}/${i}`));
  }
  return JSON.stringify(before) === JSON.stringify(after) ? [] : [{ pointer, kind: "changed", before, after }];
}

export type Line = { kind: "same" | "removed" | "added"; text: string; before: number | null; after: number | null };

/** A line diff by longest common subsequence; both texts up to a few thousand lines. */
export function lineDiff(before: string, after: string): Line[] {
  const a = before.split("\n");
  const b = after.split("\n");
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail])
    tail += 1;
  const n = a.length - head - tail;
  const m = b.length - head - tail;
  const width = m + 1;
  const longest = new Uint32Array((n + 1) * width);
  const at = (i: number, j: number): number => longest[i * width + j] ?? 0;
  for (let i = n - 1; i >= 0; i -= 1) {
    for (let j = m - 1; j >= 0; j -= 1) {
      longest[i * width + j] =
        a[head + i] === b[head + j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const lines: Line[] = [];
  const same = (i: number, j: number) => lines.push({ kind: "same", text: a[i] ?? "", before: i + 1, after: j + 1 });
  for (let i = 0; i < head; i += 1) same(i, i);
  let [i, j] = [0, 0];
  while (i < n || j < m) {
    if (i < n && j < m && a[head + i] === b[head + j]) {
      same(head + i, head + j);
      i += 1;
      j += 1;
    } else if (j >= m || (i < n && at(i + 1, j) >= at(i, j + 1))) {
      lines.push({ kind: "removed", text: a[head + i] ?? "", before: head + i + 1, after: null });
      i += 1;
    } else {
      lines.push({ kind: "added", text: b[head + j] ?? "", before: null, after: head + j + 1 });
      j += 1;
    }
  }
  for (let k = 0; k < tail; k += 1) same(a.length - tail + k, b.length - tail + k);
  return lines;
}
