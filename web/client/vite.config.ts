import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

const stub = (name: string) => fileURLToPath(new URL(`./src/transport/stubs/${name}.ts`, import.meta.url));

/** The font's licence must travel with the font; `build.license` sees only scripts. */
const fontLicence: Plugin = {
  name: "font-licence",
  generateBundle() {
    const file = fileURLToPath(import.meta.resolve("@fontsource-variable/atkinson-hyperlegible-next/LICENSE"));
    this.emitFile({ type: "asset", fileName: "font-license.txt", source: readFileSync(file) });
  },
};

export default defineConfig({
  base: "./",
  plugins: [fontLicence],
  resolve: {
    // small-webrtc-transport imports these two for a media manager that the page does not use: it brings its own.
    alias: { "@daily-co/daily-js": stub("daily"), "lodash/cloneDeep": stub("clone-deep") },
  },
  build: {
    target: "es2022",
    // The page's policy allows no data: scripts or fonts, so nothing is inlined.
    assetsInlineLimit: 0,
    // The notices that the bundled packages' licences ask for.
    license: { fileName: "licenses.md" },
    modulePreload: { polyfill: false },
  },
  worker: { format: "es" },
  server: { proxy: { "/api": "http://127.0.0.1:7860", "/ws": { target: "ws://127.0.0.1:7860", ws: true } } },
});
