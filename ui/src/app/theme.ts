import { create } from "zustand";

type Theme = "light" | "dark";

const now = (): Theme => (document.documentElement.dataset.theme === "dark" ? "dark" : "light");

export const useTheme = create<{ theme: Theme; toggle: () => void }>((set, get) => ({
  theme: now(),
  toggle: () => {
    const theme = get().theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    document.documentElement.dataset.mantineColorScheme = theme;
    remember("theme", theme);
    set({ theme });
  },
}));

/** Keep a small choice of the person's in this browser; where storage is forbidden it lasts as long as the page. */
export function remember(name: string, value: string): void {
  try {
    localStorage.setItem(`orchestrator.${name}`, value);
  } catch {
    // Forbidden or full: the choice is simply not kept.
  }
}

export function recall(name: string): string | null {
  try {
    return localStorage.getItem(`orchestrator.${name}`);
  } catch {
    return null;
  }
}

export function forget(name: string): void {
  try {
    localStorage.removeItem(`orchestrator.${name}`);
  } catch {
    // Nothing was kept.
  }
}
