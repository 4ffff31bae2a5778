// Runs before the first paint, so that a remembered theme does not flash in the other one. See src/theme.ts.
(() => {
  let chosen = "system";
  try {
    chosen = JSON.parse(localStorage.getItem("parley") || "{}").theme || "system";
  } catch {
    // Storage may be refused; the system's theme is used.
  }
  const dark = chosen === "dark" || (chosen === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
