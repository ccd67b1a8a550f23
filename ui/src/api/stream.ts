/**
 * The page's one event stream.
 *
 * A page follows one address at a time (one run, or all of them). The stream resumes from the last id it saw, waits longer
 * between tries, and after three failed tries asks for changes by polling until the stream is back. Saving and every
 * other call are independent of it.
 */
import { create } from "zustand";
import { backoffMs, EventReader, type ServerEvent } from "@/rules/sse";
import { BASE } from "./client";

export type StreamState =
  | { kind: "idle" }
  | { kind: "connecting" }
  | { kind: "live" }
  | { kind: "ended" }
  | { kind: "reconnecting"; lastId: string | null; retryAt: number; polling: boolean };

type Store = { state: StreamState; retryNow: () => void };

export const useStream = create<Store>(() => ({ state: { kind: "idle" }, retryNow: () => {} }));

const POLL_AFTER_TRIES = 3;
/** No byte for this long (the server sends heartbeats) means that the connection is dead without saying so. */
const SILENCE_MS = 45_000;

export type Listener = {
  /** Called with each event, in order, once. */
  onEvent: (event: ServerEvent) => void;
  /** Called instead of events while the stream is away, every few seconds. */
  onPoll: () => void;
};

/** Follow `path` until the returned function is called. `after` is the id to start behind. */
export function follow(path: string, after: string | null, listener: Listener): () => void {
  const stop = new AbortController();
  let lastId = after;
  let tries = 0;
  let wake: (() => void) | null = null;
  const show = (state: StreamState) => {
    if (!stop.signal.aborted) useStream.setState({ state, retryNow: () => wake?.() });
  };

  const pause = (ms: number) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
      stop.signal.addEventListener("abort", () => wake?.(), { once: true });
    });

  const readOnce = async (): Promise<"ended" | "lost"> => {
    const quiet = new AbortController();
    const signal = AbortSignal.any([stop.signal, quiet.signal]);
    const headers: Record<string, string> = { Accept: "text/event-stream" };
    if (lastId !== null) headers["Last-Event-ID"] = lastId;
    const response = await fetch(`${BASE}${path}`, { headers, signal, cache: "no-store" });
    if (response.status === 204 || response.status === 404) return "ended";
    if (!response.ok || !response.body) return "lost";
    tries = 0;
    show({ kind: "live" });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const events = new EventReader();
    let timer = setTimeout(() => quiet.abort(), SILENCE_MS);
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return "lost";
        clearTimeout(timer);
        timer = setTimeout(() => quiet.abort(), SILENCE_MS);
        for (const event of events.push(value)) {
          if (stop.signal.aborted) return "ended";
          if (event.id !== null) lastId = event.id;
          listener.onEvent(event);
          if (event.event === "end") return "ended";
        }
      }
    } finally {
      clearTimeout(timer);
      quiet.abort();
    }
  };

  const loop = async () => {
    show({ kind: "connecting" });
    while (!stop.signal.aborted) {
      // A connection may break at any moment and for any reason; each of them means the same: try again.
      const how = await readOnce().catch(() => "lost" as const);
      if (stop.signal.aborted) return;
      if (how === "ended") {
        show({ kind: "ended" });
        return;
      }
      const wait = backoffMs(tries, Math.random());
      tries += 1;
      const polling = tries >= POLL_AFTER_TRIES;
      show({ kind: "reconnecting", lastId, retryAt: Date.now() + wait, polling });
      if (polling) listener.onPoll();
      await pause(wait);
    }
  };
  void loop();
  return () => {
    stop.abort();
    useStream.setState({ state: { kind: "idle" }, retryNow: () => {} });
  };
}
