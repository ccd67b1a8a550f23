import { useEffect } from "react";

/** The tab's title while this page is open. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · Agentic Orchestrator`;
  }, [title]);
}
