/** Short news that no place on the page has room for: an action that the server refused, a link that was copied. */
import { create } from "zustand";
import { ApiProblem } from "@/api/client";
import { Icon } from "./icons";
import { StatusIcon } from "./status";

type Toast = { id: number; text: string; bad: boolean };

const useToasts = create<{ toasts: Toast[] }>(() => ({ toasts: [] }));
let last = 0;

function dismiss(id: number): void {
  useToasts.setState(({ toasts }) => ({ toasts: toasts.filter((toast) => toast.id !== id) }));
}

export function say(text: string, { bad = false }: { bad?: boolean } = {}): void {
  last += 1;
  const id = last;
  useToasts.setState(({ toasts }) => ({ toasts: [...toasts.slice(-2), { id, text, bad }] }));
  setTimeout(() => dismiss(id), bad ? 12_000 : 5_000);
}

/** Say why a call failed, in the server's words. */
export function sayProblem(error: unknown): void {
  say(error instanceof ApiProblem || error instanceof Error ? error.message : String(error), { bad: true });
}

export function Toasts() {
  const toasts = useToasts((state) => state.toasts);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {toasts.map((toast) => (
        <div className="toast" key={toast.id}>
          <span className={toast.bad ? "c-fail" : "c-ok"}>
            {toast.bad ? <StatusIcon shape="failed" size={14} /> : <Icon name="check" size={14} />}
          </span>
          <span>{toast.text}</span>
          <button type="button" className="btn ghost icon xs" onClick={() => dismiss(toast.id)} aria-label="Close">
            <Icon name="x" size={12} />
          </button>
        </div>
      ))}
    </div>
  );
}
