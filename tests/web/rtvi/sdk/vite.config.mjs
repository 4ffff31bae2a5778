// Everything in one file, which a test can hand to a browser.
export default { build: { lib: { entry: "page.mjs", formats: ["es"], fileName: () => "page.js" }, minify: false } };
