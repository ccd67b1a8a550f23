/** What a run has used of what it may use, in words and as shares of a bar. */
import type { Budget } from "@/api/types";
import { duration } from "./time";

export type BudgetName = "tasks" | "duration" | "tokens" | "cost_usd";
export type BudgetLine = {
  name: BudgetName;
  title: string;
  used: number;
  reserved: number;
  limit: number | null;
  /** Shares of the limit, 0 to 1; both 0 where there is none. */
  spent: number;
  held: number;
  usedWords: string;
  limitWords: string;
  reservedWords: string;
};

/** The limits that every run has; they keep off loops without exit, and nobody chose them. */
const TASKS_DEFAULT = 1_000_000;
const DURATION_DEFAULT_US = 366 * 86_400 * 1_000_000;

export function money(usd: number): string {
  const digits = usd !== 0 && Math.abs(usd) < 1 ? 3 : 2;
  return `$${usd.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: digits })}`;
}

const whole = (count: number): string => Math.round(count).toLocaleString("en");
const words: Record<BudgetName, (value: number) => string> = {
  tasks: whole,
  tokens: whole,
  duration: (us) => (us === 0 ? "0 s" : duration(us)),
  cost_usd: money,
};
const titles: Record<BudgetName, string> = {
  tasks: "Tasks",
  duration: "Active time",
  tokens: "Tokens",
  cost_usd: "Cost",
};

export function budgetLines(budget: Budget): BudgetLine[] {
  const line = (name: BudgetName, used: number, reserved: number, limit: number | null): BudgetLine => {
    const [say, of] = [words[name], limit ?? 0];
    const spent = of > 0 ? Math.min(1, used / of) : 0;
    return {
      name,
      title: titles[name],
      used,
      reserved,
      limit,
      spent,
      held: of > 0 ? Math.min(1 - spent, reserved / of) : 0,
      usedWords: say(used),
      limitWords: limit === null ? "no limit" : say(limit),
      reservedWords: reserved > 0 ? `${say(reserved)} reserved` : "nothing reserved",
    };
  };
  const { tasks, duration_us: time, tokens, cost_usd: cost } = budget;
  return [
    line("cost_usd", cost.used, cost.reserved, cost.limit),
    line("tokens", tokens.used, tokens.reserved, tokens.limit),
    line("tasks", tasks.used, 0, tasks.limit),
    line("duration", time.used, 0, time.limit),
  ];
}

/** Whether somebody chose this limit. */
export const isChosen = (line: BudgetLine): boolean =>
  line.limit !== null &&
  !(line.name === "tasks" && line.limit >= TASKS_DEFAULT) &&
  !(line.name === "duration" && line.limit >= DURATION_DEFAULT_US);

/** The one that the header shows: of those that somebody chose the fullest; null if nobody chose any. */
export function fullest(lines: readonly BudgetLine[]): BudgetLine | null {
  const chosen = lines.filter(isChosen);
  return chosen.sort((a, b) => b.spent + b.held - (a.spent + a.held))[0] ?? null;
}

/** "the cost of $5.00 is spent": which caps hold a run, and what was used of them. */
export function spentSentence(budget: Budget, names: readonly string[]): { title: string; detail: string } {
  const lines = budgetLines(budget).filter((line) => names.includes(line.name));
  const caps = lines.map((line) => `${line.limitWords}${units[line.name]}`).join(" and ");
  const detail = lines
    .map((line) => `${line.usedWords}${units[line.name]} used${line.reserved > 0 ? `, ${line.reservedWords}` : ""}`)
    .join("; ");
  return {
    title: `Paused: the budget of ${caps || names.join(" and ")} is spent`,
    detail: `${detail}. The run goes on once it is raised.`,
  };
}

const units: Record<BudgetName, string> = {
  tasks: " tasks",
  tokens: " tokens",
  duration: " active time",
  cost_usd: "",
};

export type Raise = { tasks?: number; tokens?: number; cost_usd?: number; duration?: string };

/** What a raise dialog suggests: twice what there is now. */
export function suggested(line: BudgetLine): string {
  if (line.limit === null) return "";
  if (line.name === "duration") return secondsText((line.limit * 2) / 1_000_000);
  if (line.name === "cost_usd") return String(Math.round(line.limit * 200) / 100 || line.limit * 2);
  return String(Math.min(line.limit * 2, line.name === "tasks" ? TASKS_DEFAULT : Number.MAX_SAFE_INTEGER));
}

function secondsText(seconds: number): string {
  if (seconds >= 3600 && seconds % 3600 === 0) return `${seconds / 3600}h`;
  if (seconds >= 60 && seconds % 60 === 0) return `${seconds / 60}m`;
  return `${seconds}s`;
}

const UNITS: Record<string, number> = { ms: 0.001, s: 1, m: 60, min: 60, h: 3600, d: 86_400 };

/** Microseconds of "90", "90s", "1.5h" or "1h30m"; null for anything else. */
export function readDuration(text: string): number | null {
  const plain = text.trim();
  if (/^\d+(\.\d+)?$/.test(plain)) return Number(plain) * 1_000_000;
  let [total, rest] = [0, plain];
  while (rest !== "") {
    const match = /^\s*(\d+(?:\.\d+)?)\s*(ms|min|s|m|h|d)/.exec(rest);
    if (!match) return null;
    total += Number(match[1]) * (UNITS[match[2] ?? ""] ?? 0);
    rest = rest.slice(match[0].length).trim();
  }
  return total > 0 ? total * 1_000_000 : null;
}

/** What is wrong with a new limit, or null. */
export function raiseFault(line: BudgetLine, text: string): string | null {
  const value = line.name === "duration" ? readDuration(text) : Number(text);
  if (value === null || !Number.isFinite(value) || text.trim() === "")
    return line.name === "duration" ? "A time such as 90s, 30m or 2h." : "A number.";
  if (line.name !== "cost_usd" && line.name !== "duration" && !Number.isInteger(value)) return "A whole number.";
  if (line.name === "tasks" && value > TASKS_DEFAULT) return `At most ${whole(TASKS_DEFAULT)}.`;
  if (line.limit !== null && value < line.limit) return `Not less than the ${line.limitWords} there is.`;
  return null;
}
