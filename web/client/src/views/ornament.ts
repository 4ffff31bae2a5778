/** A conversation as the call page will draw it, at rest: the tutor above the line, the learner below. */

const SVG = "http://www.w3.org/2000/svg";
const STEP = 7;
/** Who speaks for how many bars; 0 bars of nobody is the short pause that a good answer leaves. */
const SCORE: [who: "tutor" | "you" | "pause", bars: number][] = [
  ["tutor", 17],
  ["pause", 3],
  ["you", 12],
  ["pause", 1],
  ["tutor", 9],
  ["pause", 2],
  ["you", 15],
  ["pause", 1],
  ["tutor", 14],
];

export function ornament(): SVGSVGElement {
  const total = SCORE.reduce((sum, [, bars]) => sum + bars, 0);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${total * STEP} 96`);
  svg.setAttribute("class", "ornament");
  svg.setAttribute("aria-hidden", "true");
  let x = 0;
  for (const [who, bars] of SCORE) {
    for (let i = 0; i < bars; i++, x += STEP) {
      const loud = who === "pause" ? 0 : envelope(i, bars, x);
      add(svg, "tutor", x, 46 - loud * 42 * Number(who === "tutor"), 46);
      add(svg, "you", x, 50, 50 + loud * 42 * Number(who === "you"));
    }
  }
  return svg;
}

/** Syllables under an arch, the same at every visit. */
function envelope(i: number, bars: number, seed: number): number {
  const arch = Math.sin((Math.PI * (i + 0.7)) / (bars + 0.4)) ** 0.6;
  const syllable = 0.55 + 0.45 * Math.sin(i * 1.9 + seed * 0.37);
  return Math.max(0.12, arch * syllable);
}

function add(svg: SVGSVGElement, who: string, x: number, top: number, bottom: number): void {
  const rect = document.createElementNS(SVG, "rect");
  rect.setAttribute("class", who);
  rect.setAttribute("x", String(x));
  rect.setAttribute("y", String(top));
  rect.setAttribute("width", "4");
  rect.setAttribute("height", String(Math.max(2, bottom - top)));
  rect.setAttribute("rx", "2");
  svg.append(rect);
}
