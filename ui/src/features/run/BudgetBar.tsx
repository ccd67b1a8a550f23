/** The budget of a run: the fullest cap in the header, and all of them one click away. */
import { useId } from "react";
import type { Run } from "@/api/types";
import { Icon } from "@/design/icons";
import { type BudgetLine, budgetLines, fullest } from "@/rules/budget";
import { isTerminal } from "@/rules/status";

export function BudgetButton({ run, onRaise }: { run: Run; onRaise: () => void }) {
  const id = useId();
  const lines = budgetLines(run.budget);
  const shown = fullest(lines);
  const cost = lines.find((line) => line.name === "cost_usd");
  const over = shown !== null && shown.spent + shown.held >= 1;
  return (
    <>
      <button type="button" className={over ? "budget over" : "budget"} popoverTarget={id} title="Budget of the run">
        <span className="hidden-text">Budget: </span>
        {shown ? (
          <>
            <span className="num nw">
              {shown.usedWords}
              <span className="i3">{` of ${shown.limitWords}${shown.name === "cost_usd" ? "" : ` ${shown.title.toLowerCase()}`}`}</span>
            </span>
            <Bar line={shown} />
          </>
        ) : (
          <span className="num nw">{cost && cost.used > 0 ? cost.usedWords : "Budget"}</span>
        )}
        <Icon name="cd" size={12} className="i3" />
      </button>
      <div id={id} popover="auto" className="budget-card">
        <h2 className="h3">Budget of the run</h2>
        {lines.map((line) => (
          <BudgetRow key={line.name} line={line} />
        ))}
        {!isTerminal(run.status) && (
          <button type="button" className="btn sm" popoverTarget={id} popoverTargetAction="hide" onClick={onRaise}>
            Raise the budget…
          </button>
        )}
      </div>
    </>
  );
}

export function BudgetRow({ line }: { line: BudgetLine }) {
  return (
    <div className="budget-row">
      <div className="row t12">
        <span className="sp">{line.title}</span>
        <span className="num b">{line.usedWords}</span>
        <span className="num i2">{line.limit === null ? "no limit" : `of ${line.limitWords}`}</span>
      </div>
      {line.limit !== null && <Bar line={line} />}
      {(line.name === "cost_usd" || line.name === "tokens") && line.limit !== null && (
        <div className="t11 i3 num right">{line.reservedWords}</div>
      )}
    </div>
  );
}

const percent = (share: number): string => `${(share * 100).toFixed(2)}%`;

function Bar({ line }: { line: BudgetLine }) {
  return (
    <span className="budget-bar" aria-hidden="true">
      <i style={{ width: percent(line.spent) }} />
      {line.held > 0 && <i className="hatch-iris" style={{ width: percent(line.held) }} />}
    </span>
  );
}
