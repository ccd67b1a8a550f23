/** One way out to the server: answers as they are, problems as `ApiProblem`. */
import type { Problem } from "./generated";

export const BASE = "/api/v1";

/** What the server answered instead of what was asked for. `code` is stable; `message` is for people. */
export class ApiProblem extends Error {
  readonly status: number;
  readonly code: string;
  readonly problem: Problem | null;

  constructor(status: number, problem: Problem | null, fallback: string) {
    super(problem?.detail || problem?.title || fallback);
    this.name = "ApiProblem";
    this.status = status;
    this.code = problem?.code ?? "unreachable";
    this.problem = problem;
  }
}

type Outcome<T> = { data?: T; error?: unknown; response?: Response };

const isProblem = (value: unknown): value is Problem =>
  value !== null && typeof value === "object" && "code" in value && "title" in value;

/**
 * The answer of a call of the generated client.
 *
 * Throws `ApiProblem` for every answer outside 2xx, and with status 0 where no answer came.
 */
export async function answer<T>(call: Promise<Outcome<T>>): Promise<T> {
  const { data, error, response } = await call;
  if (response?.ok && error === undefined) return data as T;
  if (error instanceof DOMException && error.name === "AbortError") throw error;
  if (!response) throw new ApiProblem(0, null, "The server does not answer. Is it still running?");
  throw new ApiProblem(response.status, isProblem(error) ? error : null, `The server answered ${response.status}.`);
}
