/** Every address of the page. What a person would want to send as a link stands in the address: run, node, tab, filters. */
import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";
import type { RunStatus } from "@/api/types";
import { RUN_STATUSES } from "@/rules/status";
import { NotFound, PageError } from "./errors";
import { Frame } from "./Frame";

const optional = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : undefined;
const many = (value: unknown): string[] => {
  const all = Array.isArray(value) ? value : [value];
  return all.filter((one): one is string => typeof one === "string" && one !== "");
};
const oneOf = <T extends string>(value: unknown, allowed: readonly T[]): T | undefined =>
  allowed.find((one) => one === value);

export const DOCKS = ["journal", "timeline", "output", "outbox"] as const;
export type Dock = (typeof DOCKS)[number];
export const PANEL_TABS = ["items", "decision", "input", "output", "logs", "attempts", "settings"] as const;
export type PanelTab = (typeof PANEL_TABS)[number];

const root = createRootRoute({ component: Frame, notFoundComponent: NotFound, errorComponent: PageError });

const workflows = createRoute({
  getParentRoute: () => root,
  path: "/",
  component: lazyRouteComponent(() => import("@/features/workflows/WorkflowsPage"), "WorkflowsPage"),
});

const runSearch = (search: Record<string, unknown>) => {
  const node = optional(search.node);
  const tab = oneOf(search.tab, PANEL_TABS);
  const dock = oneOf(search.dock, DOCKS);
  const task = optional(search.task);
  return { ...(node && { node }), ...(task && { task }), ...(tab && { tab }), ...(dock && { dock }) };
};

export const workbenchRoute = createRoute({
  getParentRoute: () => root,
  path: "/workflows/$name",
  validateSearch: (search: Record<string, unknown>) => {
    const run = optional(search.run);
    return { ...runSearch(search), ...(run && { run }) };
  },
  component: lazyRouteComponent(() => import("@/features/workbench/WorkbenchPage"), "WorkbenchPage"),
});

export const newWorkflowRoute = createRoute({
  getParentRoute: () => root,
  path: "/new",
  component: lazyRouteComponent(() => import("@/features/workbench/WorkbenchPage"), "NewWorkflowPage"),
});

export const versionsRoute = createRoute({
  getParentRoute: () => root,
  path: "/workflows/$name/versions",
  validateSearch: (search: Record<string, unknown>): { version?: number } => {
    const version = Number(search.version);
    return Number.isInteger(version) && version > 0 ? { version } : {};
  },
  component: lazyRouteComponent(() => import("@/features/workflows/VersionsPage"), "VersionsPage"),
});

export type RunsSearch = { status?: RunStatus[]; label?: string[]; workflow?: string; text?: string };
export const runsRoute = createRoute({
  getParentRoute: () => root,
  path: "/runs",
  validateSearch: (search: Record<string, unknown>): RunsSearch => {
    const status = RUN_STATUSES.filter((one) => many(search.status).includes(one));
    const label = many(search.label);
    const [workflow, text] = [optional(search.workflow), optional(search.text)];
    return {
      ...(status.length > 0 && { status }),
      ...(label.length > 0 && { label }),
      ...(workflow && { workflow }),
      ...(text && { text }),
    };
  },
  component: lazyRouteComponent(() => import("@/features/runs/RunsPage"), "RunsPage"),
});

export const runRoute = createRoute({
  getParentRoute: () => root,
  path: "/runs/$id",
  validateSearch: runSearch,
  component: lazyRouteComponent(() => import("@/features/run/RunPage"), "RunPage"),
});

export const nodesRoute = createRoute({
  getParentRoute: () => root,
  path: "/nodes",
  validateSearch: (search: Record<string, unknown>): { name?: string } => {
    const name = optional(search.name);
    return name ? { name } : {};
  },
  component: lazyRouteComponent(() => import("@/features/nodes/NodesPage"), "NodesPage"),
});

export const router = createRouter({
  routeTree: root.addChildren([
    workflows,
    newWorkflowRoute,
    workbenchRoute,
    versionsRoute,
    runsRoute,
    runRoute,
    nodesRoute,
  ]),
  defaultPreload: "intent",
  // A broken page leaves the frame standing, and the way to the others.
  defaultErrorComponent: PageError,
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
