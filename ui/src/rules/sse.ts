/** Reading a server-sent event stream, chunk by chunk: the rules of the HTML standard, section 9.2. */

export type ServerEvent = { id: string | null; event: string; data: string };

/** Feed it text as it arrives; it returns the events that are complete, and keeps the rest. */
export class EventReader {
  private rest = "";
  private data: string[] = [];
  private event = "";
  private id: string | null = null;

  push(chunk: string): ServerEvent[] {
    const done: ServerEvent[] = [];
    const text = this.rest + chunk;
    // A CR at the very end may be half of a CRLF: it waits for the next chunk.
    const held = text.endsWith("\r") ? 1 : 0;
    const lines = text.slice(0, text.length - held).split(/\r\n|\n|\r/);
    this.rest = (lines.pop() ?? "") + (held ? "\r" : "");
    for (const line of lines) {
      const event = this.line(line);
      if (event) done.push(event);
    }
    return done;
  }

  private line(line: string): ServerEvent | null {
    if (line === "") {
      const data = this.data;
      const event = { id: this.id, event: this.event || "message", data: data.join("\n") };
      this.data = [];
      this.event = "";
      this.id = null;
      return data.length > 0 ? event : null;
    }
    if (line.startsWith(":")) return null;
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "data") this.data.push(value);
    else if (field === "event") this.event = value;
    else if (field === "id" && !value.includes("\0")) this.id = value;
    return null;
  }
}

/** How long to wait before the n-th try to connect again, in milliseconds: doubling, capped, spread by `random` (0 to 1). */
export function backoffMs(attempt: number, random: number): number {
  const base = Math.min(500 * 2 ** Math.min(attempt, 10), 15_000);
  return Math.round(base * (0.75 + 0.5 * random));
}
