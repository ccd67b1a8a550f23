/** One way out to the server: JSON in, JSON out, problems as `ApiProblem`. */
import type { ProblemDetail } from "./types";

export const BASE = "/api/v1";
const KEY_STORE = "orchestrator.key";

/** What the server answered instead of what was asked for. `code` is stable; `message` is for people. */
export class ApiProblem extends Error {
  readonly status: number;
  readonly code: string;
  readonly problem: ProblemDetail | null;

  constructor(status: number, problem: ProblemDetail | null, fallback: string) {
    super(problem?.detail ?? problem?.title ?? fallback);
    this.name = "ApiProblem";
    this.status = status;
    this.code = problem?.code ?? "unreachable";
    this.problem = problem;
  }
}

export function apiKey(): string | null {
  return sessionStorage.getItem(KEY_STORE);
}

export function rememberApiKey(key: string): void {
  sessionStorage.setItem(KEY_STORE, key);
}

export function authHeaders(): Record<string, string> {
  const key = apiKey();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

export type Query = Record<string, string | number | boolean | readonly string[] | null | undefined>;

export function queryString(query: Query): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") continue;
    if (Array.isArray(value)) for (const one of value) params.append(name, one);
    else params.set(name, String(value));
  }
  const text = params.toString();
  return text ? `?${text}` : "";
}

type Options = { query?: Query; body?: unknown; text?: string; idempotencyKey?: string; signal?: AbortSignal };

/**
 * Send one request and decode its answer.
 *
 * Throws `ApiProblem` for every answer outside 2xx, and with status 0 where no answer came.
 */
export async function request<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json", ...authHeaders() };
  const body = options.text ?? (options.body === undefined ? undefined : JSON.stringify(options.body));
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (options.idempotencyKey) headers["Idempotency-Key"] = options.idempotencyKey;
  let response: Response;
  try {
    response = await fetch(`${BASE}${path}${queryString(options.query ?? {})}`, {
      method,
      headers,
      body: body ?? null,
      signal: options.signal ?? null,
    });
  } catch (cause) {
    if (options.signal?.aborted) throw cause;
    throw new ApiProblem(0, null, "The server does not answer. Is it still running?");
  }
  if (!response.ok) {
    const problem = await response.json().then(
      (value: ProblemDetail) => value,
      () => null,
    );
    throw new ApiProblem(response.status, problem, `The server answered ${response.status}.`);
  }
  if (response.status === 204) return undefined as T;
  return (await response.json()) as T;
}

/** Encode one part of a path; a task's path keeps its slashes, as the routes expect them. */
export const part = encodeURIComponent;
export const taskPart = (path: string): string => path.split("/").map(encodeURIComponent).join("/");
