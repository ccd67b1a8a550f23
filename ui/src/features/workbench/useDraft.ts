/** The text a person works on: it keeps itself in this browser until it is saved as a version. */
import { useCallback, useEffect, useRef, useState } from "react";
import { forget, recall, remember } from "@/app/theme";

type Kept = { text: string; base: number; at: string };

function read(name: string): Kept | null {
  const kept = recall(`draft.${name}`);
  if (kept === null) return null;
  try {
    const value = JSON.parse(kept) as Partial<Kept>;
    return typeof value.text === "string" ? { text: value.text, base: value.base ?? 0, at: value.at ?? "" } : null;
  } catch {
    return null;
  }
}

export function keepDraft(name: string, text: string, base: number): string {
  const at = new Date().toISOString();
  remember(`draft.${name}`, JSON.stringify({ text, base, at }));
  return at;
}

export function dropDraft(name: string): void {
  forget(`draft.${name}`);
}

const KEEP_MS = 400;

export function useDraft(name: string, saved: string, version: number) {
  const [start] = useState(() => read(name));
  const [text, setText] = useState(start?.text ?? saved);
  const [keptAt, setKeptAt] = useState<string | null>(start?.at ?? null);
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  const dirty = text !== saved;
  const change = useCallback(
    (next: string) => {
      setText(next);
      if (timer.current !== null) clearTimeout(timer.current);
      timer.current = setTimeout(() => {
        if (next === saved) {
          dropDraft(name);
          setKeptAt(null);
        } else setKeptAt(keepDraft(name, next, version));
      }, KEEP_MS);
    },
    [name, saved, version],
  );
  useEffect(
    () => () => {
      if (timer.current !== null) clearTimeout(timer.current);
    },
    [],
  );
  return { text, dirty, keptAt, change };
}
