/** Keys that work anywhere on the page. Letters count only where nobody is typing. */
import type { Call } from "./call";
import type { Store } from "./store";

export function listenForKeys(store: Store, call: Call, actions: { focusInput(): void; openSettings(): void }): void {
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented || document.querySelector("dialog[open]")) return;
    const { phase, muted, mic } = store.state;
    if (e.key === "Escape" && phase === "in-call") {
      call.interrupt();
      return;
    }
    const target = e.target as HTMLElement;
    if (target.closest("input, select, textarea, [contenteditable]")) return;
    const key = e.key.toLowerCase();
    const act: Record<string, (() => void) | undefined> = {
      m: phase === "in-call" && mic === "ok" ? () => call.setMuted(!muted) : undefined,
      t: phase === "in-call" ? actions.focusInput : undefined,
      c: phase === "start" && store.state.config ? () => void call.dial() : undefined,
      s: actions.openSettings,
      "?": actions.openSettings,
    };
    const found = act[key];
    if (!found) return;
    e.preventDefault();
    found();
  });
}
