import { describe, expect, test } from "vitest";
import { locateLine, syntaxOf, toYaml } from "./yaml";

describe("YAML", () => {
  test("is told from JSON by its first character", () => {
    expect(["{}", ' \n{"a": 1}', "", "name: x", "# why\nname: x"].map(syntaxOf)).toEqual([
      "json",
      "json",
      "json",
      "yaml",
      "yaml",
    ]);
  });

  test("is written in blocks, and quotes what another reader could take for something else", () => {
    const document = {
      name: "Agentic User Onboarding",
      nodes: {
        "a:b": { class: "SetNode", params: { on: "yes", n: 3, none: null, empty: {}, text: "{{ input.x }}" } },
        join: { next_node: ["a", "b c", "1"], cases: [{ name: "x", when: true }, []] },
      },
    };
    expect(toYaml(document)).toBe(
      [
        "name: Agentic User Onboarding",
        "nodes:",
        '  "a:b":',
        "    class: SetNode",
        "    params:",
        '      "on": "yes"',
        '      "n": 3',
        "      none: null",
        "      empty: {}",
        '      text: "{{ input.x }}"',
        "  join:",
        "    next_node:",
        "      - a",
        "      - b c",
        '      - "1"',
        "    cases:",
        "      - name: x",
        "        when: true",
        "      - []",
        "",
      ].join("\n"),
    );
  });

  test("shows a fault at its line and column", () => {
    const text = "name: x\nnodes:\n  a:\n    next_node: step_ned # why\n";
    const fault = { pointer: "/nodes/a/next_node", code: "unknown_node", message: "no", line: 4, column: 16 };
    const { from, to } = locateLine(text, fault);
    expect(text.slice(from, to)).toBe("step_ned");
    expect(locateLine("x", { ...fault, line: 9, column: 9 })).toMatchObject({ from: 1, to: 1 });
  });
});
