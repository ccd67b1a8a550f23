import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `ORCHESTRATOR_DEV_SERVER` is the address of a running `orchestrator dev`; the page's own server passes the API on to it.
const server = process.env.ORCHESTRATOR_DEV_SERVER ?? "http://127.0.0.1:8000";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  plugins: [react()],
  resolve: {
    alias: {
      "@rjsf/validator-ajv8": here("./src/features/workbench/noAjv.ts"),
      "@": here("./src"),
    },
  },
  build: {
    outDir: "../src/orchestrator/api/static",
    emptyOutDir: true,
    target: "es2022",
    sourcemap: false,
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 700,
    modulePreload: { polyfill: false },
  },
  server: { port: 5173, strictPort: false, proxy: { "/api": { target: server, changeOrigin: true } } },
  worker: { format: "es" },
});
