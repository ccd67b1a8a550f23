import { describe, expect, test } from "vitest";
import type { Budget } from "@/api/types";
import { budgetLines, fullest, isChosen, money, raiseFault, readDuration, spentSentence, suggested } from "./budget";

const budget = (more: Partial<Budget> = {}): Budget => ({
  tasks: { used: 12, limit: 1_000_000 },
  duration_us: { used: 90_000_000, limit: 366 * 86_400 * 1_000_000 },
  tokens: { used: 6_950, reserved: 0, limit: null },
  cost_usd: { used: 0.064, reserved: 0.018, limit: 0.1 },
  ...more,
});
const line = (name: string, of = budget()) => {
  const found = budgetLines(of).find((one) => one.name === name);
  if (!found) throw new Error(name);
  return found;
};

describe("a budget", () => {
  test("is shown settled, then reserved, as shares of its limit", () => {
    expect(line("cost_usd")).toMatchObject({
      usedWords: "$0.064",
      limitWords: "$0.10",
      reservedWords: "$0.018 reserved",
    });
    expect(line("cost_usd").spent).toBeCloseTo(0.64);
    expect(line("cost_usd").held).toBeCloseTo(0.18);
    expect(line("tokens")).toMatchObject({ spent: 0, limitWords: "no limit" });
  });

  test("never fills its bar past the end", () => {
    const over = line("cost_usd", budget({ cost_usd: { used: 0.2, reserved: 0.5, limit: 0.1 } }));
    expect([over.spent, over.held]).toEqual([1, 0]);
  });

  test("shows the fullest of those that somebody chose, and none of the limits that every run has", () => {
    expect(
      budgetLines(budget())
        .filter(isChosen)
        .map((one) => one.name),
    ).toEqual(["cost_usd"]);
    expect(fullest(budgetLines(budget({ tasks: { used: 99, limit: 100 } })))?.name).toBe("tasks");
    expect(fullest(budgetLines(budget({ cost_usd: { used: 1, reserved: 0, limit: null } })))).toBeNull();
  });

  test("says which cap holds a run, and what was spent of it", () => {
    const said = spentSentence(budget({ tokens: { used: 50_000, reserved: 0, limit: 50_000 } }), ["tokens"]);
    expect(said.title).toBe("Paused: the budget of 50,000 tokens is spent");
    expect(said.detail).toBe("50,000 tokens used. The run goes on once it is raised.");
  });

  test("may be raised, and not lowered", () => {
    expect(suggested(line("cost_usd"))).toBe("0.2");
    expect(raiseFault(line("cost_usd"), "0.05")).toBe("Not less than the $0.10 there is.");
    expect(raiseFault(line("cost_usd"), "lots")).toBe("A number.");
    expect(raiseFault(line("cost_usd"), "0.2")).toBeNull();
    expect(raiseFault(line("tasks"), "2000000")).toBe("At most 1,000,000.");
  });

  test("of time is read as people write it", () => {
    expect(readDuration("90")).toBe(90_000_000);
    expect(readDuration("1h 30m")).toBe(5_400_000_000);
    expect(readDuration("soon")).toBeNull();
    expect(money(5)).toBe("$5.00");
  });
});
