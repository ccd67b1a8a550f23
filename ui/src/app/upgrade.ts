/**
 * After the server was upgraded, a page that is still open asks for parts that are gone. It is loaded anew then, once:
 * drafts are kept in the browser, and everything else is in the address. While the server is away it stays as it is.
 */
const AGAIN_AFTER_MS = 30_000;
const KEY = "orchestrator.reloaded";

export function reloadAfterUpgrade(): void {
  window.addEventListener("vite:preloadError", () => {
    const last = Number(sessionStorage.getItem(KEY) ?? 0);
    if (Date.now() - last < AGAIN_AFTER_MS) return;
    fetch("/", { cache: "no-store" }).then(
      (answer) => {
        if (!answer.ok) return;
        sessionStorage.setItem(KEY, String(Date.now()));
        location.reload();
      },
      () => {
        // Away: the error that led here is shown, with a button to try again.
      },
    );
  });
}
