// Before the first paint: the chosen theme, or the system's. A file of its own, because the page allows no inline script.
(() => {
  let chosen = "auto";
  try {
    chosen = localStorage.getItem("orchestrator.theme") ?? "auto";
  } catch {
    // Storage may be forbidden: the system's theme it is.
  }
  const dark = chosen === "dark" || (chosen === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  document.documentElement.dataset.mantineColorScheme = dark ? "dark" : "light";
})();
