/** How loud the microphone is. One element that moves with the page: beside the picker, then beside the mute button. */
import type { Microphone } from "../audio/microphone";
import { h } from "./dom";

const SEGMENTS = 16;

export function micMeter(microphone: Microphone) {
  const bars = Array.from({ length: SEGMENTS }, () => h("i"));
  const root = h(
    "div",
    {
      class: "meter",
      role: "meter",
      "aria-label": "Microphone level",
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": 0,
      "data-testid": "mic-level",
    },
    ...bars,
  );
  let shown = 0;
  /** Draw the level, falling slowly so that the eye can follow. */
  const draw = (muted: boolean) => {
    const level = microphone.level();
    shown = Math.max(level, shown - 0.03);
    const lit = Math.round(shown * SEGMENTS);
    root.dataset["muted"] = String(muted);
    bars.forEach((bar, i) => bar.toggleAttribute("data-lit", i < lit));
    const percent = String(Math.round(shown * 100));
    if (root.getAttribute("aria-valuenow") !== percent) root.setAttribute("aria-valuenow", percent);
  };
  return { root, draw };
}
