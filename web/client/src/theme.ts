/** Dark or light: the system's choice until the person makes another one. `public/theme.js` does the same before first paint. */
import type { PreferenceStore } from "./preferences";

export class Theme {
  private readonly system = matchMedia("(prefers-color-scheme: dark)");
  private listeners: (() => void)[] = [];

  constructor(private readonly preferences: PreferenceStore) {
    this.system.addEventListener("change", () => this.apply());
    preferences.onChange(() => this.apply());
    this.apply();
  }

  get current(): "light" | "dark" {
    const chosen = this.preferences.get("theme");
    return chosen === "system" ? (this.system.matches ? "dark" : "light") : chosen;
  }

  toggle(): void {
    this.preferences.set("theme", this.current === "dark" ? "light" : "dark");
  }

  onChange(listener: () => void): void {
    this.listeners.push(listener);
  }

  private apply(): void {
    const { current } = this;
    if (document.documentElement.dataset["theme"] === current) return;
    document.documentElement.dataset["theme"] = current;
    for (const listener of this.listeners) listener();
  }
}
