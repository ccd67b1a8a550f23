/** Give a run more of what it may use: the caps that hold it first. */
import { useId, useState } from "react";
import { api } from "@/api/calls";
import {
  type BudgetLine,
  type BudgetName,
  budgetLines,
  isChosen,
  type Raise,
  raiseFault,
  suggested,
} from "@/rules/budget";
import { shortId } from "@/rules/status";
import { BudgetRow } from "./BudgetBar";
import { Ask, type Props } from "./RunDialogs";

export function RaiseDialog({ run, view, onClose }: Props) {
  const named = (run.waiting_for?.wakers ?? []).flatMap((one) => (one.kind === "budget" && one.name ? [one.name] : []));
  const spent = new Set(named.length > 0 ? named : view.fold.spentOut);
  const lines = budgetLines(run.budget).filter((line) => isChosen(line) || spent.has(line.name));
  const [texts, setTexts] = useState<Partial<Record<BudgetName, string>>>(() =>
    Object.fromEntries(lines.filter((line) => spent.has(line.name)).map((line) => [line.name, suggested(line)])),
  );
  const [reason, setReason] = useState("");
  const reasonId = useId();
  const given = lines.filter((line) => (texts[line.name] ?? "") !== "");
  const faults = given.filter((line) => raiseFault(line, texts[line.name] ?? "") !== null);
  const body = (): Raise & { reason?: string } => {
    const raised: Raise = {};
    for (const line of given) {
      const text = texts[line.name] ?? "";
      if (line.name === "duration")
        raised.duration = /^\d+(\.\d+)?$/.test(text.trim()) ? `${text.trim()}s` : text.trim();
      else raised[line.name] = Number(text);
    }
    return { ...raised, ...(reason && { reason }) };
  };
  return (
    <Ask
      title={`Raise the budget of run ${shortId(run.id)}`}
      button="Raise the budget"
      leave="Not now"
      disabled={given.length === 0 || faults.length > 0}
      send={() => api.raiseBudget(run.id, body())}
      onClose={onClose}
    >
      {lines.length === 0 ? (
        <p className="i2">Nobody set a limit for this run, so there is nothing to raise.</p>
      ) : (
        <p className="i2">
          {spent.size > 0
            ? "The run goes on as soon as its spent budget is raised. What it used stays counted."
            : "What the run used stays counted; only its limits grow."}
        </p>
      )}
      {lines.map((line) => (
        <Field
          key={line.name}
          line={line}
          text={texts[line.name] ?? ""}
          onText={(text) => setTexts({ ...texts, [line.name]: text })}
        />
      ))}
      {lines.length > 0 && (
        <div className="field spaced">
          <label className="fl" htmlFor={reasonId}>
            Reason, for the journal
            <span className="i3">optional</span>
          </label>
          <input id={reasonId} className="in" value={reason} onChange={(event) => setReason(event.target.value)} />
        </div>
      )}
    </Ask>
  );
}

const UNIT: Record<BudgetName, string> = {
  cost_usd: "US dollars in all",
  tokens: "tokens in all",
  tasks: "tasks in all",
  duration: "active time in all, such as 30m or 2h",
};

function Field({ line, text, onText }: { line: BudgetLine; text: string; onText: (text: string) => void }) {
  const [id, hintId] = [useId(), useId()];
  const fault = text === "" ? null : raiseFault(line, text);
  return (
    <div className="field spaced raise">
      <BudgetRow line={line} />
      <label className="fl" htmlFor={id}>
        {`New limit, ${UNIT[line.name]}`}
      </label>
      <input
        id={id}
        className="in num"
        inputMode={line.name === "duration" ? "text" : "decimal"}
        value={text}
        placeholder={`as it is: ${line.limitWords}`}
        aria-invalid={fault !== null}
        aria-describedby={hintId}
        onChange={(event) => onText(event.target.value)}
      />
      <p id={hintId} className="hint bad">
        {fault}
      </p>
    </div>
  );
}
