import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

type Tokens = Record<string, string>;

function tokensOf(css: string, selector: string): Tokens {
  const start = css.indexOf(`${selector} {`);
  const block = css.slice(start, css.indexOf("}", start));
  return Object.fromEntries([...block.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)].map(([, name, hex]) => [name, hex]));
}

function luminance(hex: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [high = 0, low = 0] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}

const css = readFileSync(new URL("./tokens.css", import.meta.url), "utf8");
const hues = ["run", "ok", "wait", "fail", "doubt", "idle", "iris"];

describe.each([
  ["light", ":root"],
  ["dark", ':root[data-theme="dark"]'],
])("the %s theme", (_name, selector) => {
  const tokens = tokensOf(css, selector);
  const ratio = (front: string, back: string) => contrast(tokens[front] ?? "", tokens[back] ?? "");

  test.each(
    ["ink", "ink-2", "ink-3"].flatMap((ink) => ["surface", "canvas", "hover", "sunken"].map((on) => [ink, on])),
  )("text in %s is readable on %s", (ink = "", on = "") => {
    expect(ratio(ink, on)).toBeGreaterThanOrEqual(4.5);
  });
  test.each(hues)("%s is readable on the surface and on its own tint", (hue) => {
    expect(ratio(hue, "surface")).toBeGreaterThanOrEqual(4.5);
    expect(ratio(hue, `${hue}-bg`)).toBeGreaterThanOrEqual(4.5);
  });
  test.each(hues)("ink and ink-2 are readable on the tint of %s", (hue) => {
    expect(ratio("ink", `${hue}-bg`)).toBeGreaterThanOrEqual(4.5);
    expect(ratio("ink-2", `${hue}-bg`)).toBeGreaterThanOrEqual(4.5);
  });
  test("the label of the primary button is readable", () => {
    expect(ratio("on-ink", "ink")).toBeGreaterThanOrEqual(4.5);
    expect(ratio("on-ink", "edge-taken")).toBeGreaterThanOrEqual(4.5);
  });
  test.each(["c-key", "c-str", "c-num", "c-punc"])("code in %s is readable", (colour) => {
    expect(ratio(colour, "surface")).toBeGreaterThanOrEqual(4.5);
    expect(ratio(colour, "sunken")).toBeGreaterThanOrEqual(4.5);
  });
  test.each([
    ["control", "surface"],
    ["edge", "canvas"],
    ["edge-taken", "canvas"],
    ["focus", "surface"],
  ])("the line %s can be seen on %s", (line, on) => {
    expect(ratio(line, on)).toBeGreaterThanOrEqual(3);
  });
});

function files(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });
}

test("nothing but the tokens names a colour", () => {
  const named = files("src")
    .filter(
      (path) => /\.(tsx?|css)$/.test(path) && !/tokens\.(css|test\.ts)$/.test(path) && !path.includes("generated"),
    )
    .filter((path) => /#[0-9a-f]{3}\b|#[0-9a-f]{6}\b|\brgba?\(|\bhsla?\(/i.test(readFileSync(path, "utf8")));
  expect(named).toEqual([]);
});
