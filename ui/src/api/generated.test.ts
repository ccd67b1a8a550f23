import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { createClient } from "@hey-api/openapi-ts";
import { expect, test } from "vitest";
import config from "../../openapi-ts.config";

function read(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  const walk = (path: string) => {
    for (const name of readdirSync(path)) {
      const full = join(path, name);
      if (statSync(full).isDirectory()) walk(full);
      // Words of the API may change without its shapes.
      else found[relative(folder, full)] = readFileSync(full, "utf8").replace(/^\s*\/\*\*[\s\S]*?\*\/\n/gm, "");
    }
  };
  walk(folder);
  return found;
}

test("the client is what openapi.json gives: run `npm run generate` after the API changed", async () => {
  const folder = mkdtempSync(join(tmpdir(), "client-"));
  try {
    await createClient({ ...(await config), output: { path: folder }, logs: { level: "silent" } } as Parameters<
      typeof createClient
    >[0]);
    expect(read(folder)).toEqual(read("src/api/generated"));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
