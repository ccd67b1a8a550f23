/** Follow all runs on pages that list them: a changed row is asked for again, not guessed. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { follow } from "./stream";

const SETTLE_MS = 400;

export function useOverview(): void {
  const client = useQueryClient();
  useEffect(() => {
    let settle: ReturnType<typeof setTimeout> | null = null;
    const refresh = () => {
      settle ??= setTimeout(() => {
        settle = null;
        void client.invalidateQueries({ queryKey: ["runs"] });
        void client.invalidateQueries({ queryKey: ["workflows"] });
      }, SETTLE_MS);
    };
    const stop = follow("/events", null, {
      onEvent: ({ event }) => {
        if (event === "run" || event === "journal") refresh();
      },
      onPoll: refresh,
    });
    return () => {
      stop();
      if (settle !== null) clearTimeout(settle);
    };
  }, [client]);
}
