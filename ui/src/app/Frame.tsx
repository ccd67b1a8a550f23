import { Link, Outlet, useRouterState } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { useStream } from "@/api/stream";
import { Icon, type IconName } from "@/design/icons";
import { Toasts } from "@/design/toasts";
import { Palette } from "@/features/palette/Palette";
import { ShortcutsDialog } from "./Shortcuts";
import { useTheme } from "./theme";

const places: { to: "/" | "/runs" | "/nodes"; icon: IconName; name: string; under: RegExp }[] = [
  { to: "/", icon: "flow", name: "Workflows", under: /^\/($|workflows|new)/ },
  { to: "/runs", icon: "list", name: "Runs", under: /^\/runs/ },
  { to: "/nodes", icon: "grid", name: "Nodes", under: /^\/nodes/ },
];

export function Frame() {
  const path = useRouterState({ select: (state) => state.location.pathname });
  const [open, setOpen] = useState<"palette" | "shortcuts" | null>(null);
  const { theme, toggle } = useTheme();

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setOpen("palette");
      } else if (event.key === "?" && !isTyping(event.target)) {
        setOpen("shortcuts");
      } else if (event.key === "/" && !isTyping(event.target)) {
        const search = document.querySelector<HTMLInputElement>("[data-search]");
        if (search) {
          event.preventDefault();
          search.focus();
        }
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);

  return (
    <div className="app">
      <a className="btn skip" href="#main">
        Skip to the content
      </a>
      <header className="top">
        <Link to="/" className="brand">
          <Icon name="logo" size={18} />
          Agentic Orchestrator
        </Link>
        <nav aria-label="Main">
          {places.map((place) => (
            <Link
              key={place.to}
              to={place.to}
              className={place.under.test(path) ? "nav on" : "nav"}
              aria-current={place.under.test(path) ? "page" : undefined}
            >
              <Icon name={place.icon} />
              {place.name}
            </Link>
          ))}
        </nav>
        <span className="sp" />
        <LiveState />
        <button type="button" className="find" onClick={() => setOpen("palette")}>
          <Icon name="search" size={14} />
          <span className="t12 sp">Search or run a command</span>
          <kbd>Ctrl K</kbd>
        </button>
        <button
          type="button"
          className="btn ghost icon desk"
          onClick={() => setOpen("shortcuts")}
          aria-label="Keyboard shortcuts"
          title="Keyboard shortcuts (?)"
        >
          <Icon name="help" />
        </button>
        <button
          type="button"
          className="btn ghost icon"
          onClick={toggle}
          aria-label={theme === "dark" ? "Use the light theme" : "Use the dark theme"}
          title={theme === "dark" ? "Light theme" : "Dark theme"}
        >
          <Icon name={theme === "dark" ? "sun" : "moon"} />
        </button>
      </header>
      <main className="main" id="main" tabIndex={-1}>
        <Outlet />
      </main>
      <nav className="mobile-nav" aria-label="Main, at the foot">
        {places.map((place) => (
          <Link key={place.to} to={place.to} className={place.under.test(path) ? "on" : ""}>
            <Icon name={place.icon} size={20} />
            {place.name}
          </Link>
        ))}
        <button type="button" onClick={() => setOpen("palette")}>
          <Icon name="search" size={20} />
          Search
        </button>
      </nav>
      <ShortcutsDialog opened={open === "shortcuts"} onClose={() => setOpen(null)} />
      {open === "palette" && <Palette onClose={() => setOpen(null)} />}
      <Toasts />
    </div>
  );
}

function LiveState() {
  const { state, retryNow } = useStream();
  if (state.kind === "idle") return null;
  if (state.kind === "reconnecting") {
    const last = state.lastId && /^\d+$/.test(state.lastId) ? `, last event ${state.lastId}` : "";
    return (
      <button type="button" className="live c-wait" onClick={retryNow} title="Try now" aria-live="polite">
        <Icon name="warn" size={14} />
        {`Reconnecting${last}${state.polling ? ", asking every few seconds" : ""}`}
      </button>
    );
  }
  const live = state.kind === "live";
  return (
    <span className="live" title="Event stream" aria-live="polite">
      <i className={live ? "" : "off"} />
      {live ? "Live" : state.kind === "ended" ? "Up to date" : "Connecting"}
    </span>
  );
}

export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
}
