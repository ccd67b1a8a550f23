/** Problems as one types: JSON itself is read here, everything else by the server, a moment after the last key. */
import { useEffect, useState } from "react";
import { api } from "@/api/calls";
import type { Graph, JsonObject } from "@/api/types";
import { locate, type Problem, syntaxProblems } from "@/rules/document";
import { locateLine, syntaxOf } from "@/rules/yaml";

const WAIT_MS = 250;

export type Checked = {
  /** The text these answers are about; null before the first. */
  text: string | null;
  problems: readonly Problem[];
  faults: number;
  graph: Graph | null;
  /** What a YAML text means; null for JSON, which the page reads itself. */
  document: JsonObject | null;
  /** Whether `graph` is the drawing of `text`, not of an earlier one. */
  drawn: boolean;
  /** Why the server could not be asked. */
  away: string | null;
};

const NOTHING: Checked = { text: null, problems: [], faults: 0, graph: null, document: null, drawn: false, away: null };

export function useValidation(text: string): Checked {
  const [checked, setChecked] = useState<Checked>(NOTHING);
  useEffect(() => {
    const yaml = syntaxOf(text) === "yaml";
    const syntax = yaml ? [] : syntaxProblems(text);
    const place = yaml ? locateLine : locate;
    if (syntax.length > 0) {
      setChecked((before) => ({ ...before, text, problems: syntax, faults: syntax.length, drawn: false, away: null }));
      return;
    }
    const stop = new AbortController();
    const timer = setTimeout(() => {
      api.validate(text, stop.signal).then(
        (answer) => {
          const faults = answer.faults.map((fault) => place(text, fault));
          const hints = answer.hints.map((hint) => place(text, hint, "hint"));
          // The drawing stays as it was while the document has faults that leave nothing to draw.
          setChecked((before) => ({
            text,
            problems: [...faults, ...hints],
            faults: faults.length,
            graph: answer.graph ?? before.graph,
            document: (answer.document ?? null) as JsonObject | null,
            drawn: answer.graph !== null,
            away: null,
          }));
        },
        (error: unknown) => {
          if (!stop.signal.aborted) {
            setChecked((before) => ({ ...before, away: error instanceof Error ? error.message : String(error) }));
          }
        },
      );
    }, WAIT_MS);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [text]);
  return checked;
}
