/** Speech rate, temperature and length of the answers, in the drawer. What the server's engines do not use is shown, but disabled. */
import type { Call } from "../call";
import { optionText, snapped, stepOf, valueOf } from "../options";
import type { PreferenceStore } from "../preferences";
import type { OptionInfo, OptionName } from "../protocol";
import type { State } from "../state";
import { h, setText, show } from "./dom";

const LABELS: Record<OptionName, [label: string, hint: string]> = {
  speech_rate: ["Speech rate", "How fast the tutor speaks."],
  temperature: ["Temperature", "Higher makes the tutor's answers more varied."],
  max_tokens: ["Longest answer", "A token is about three quarters of a word."],
};
const ORDER: OptionName[] = ["speech_rate", "temperature", "max_tokens"];

export function optionsPanel(call: Call, preferences: PreferenceStore) {
  const rows = h("div", { class: "options" });
  const hint = h("p", { class: "hint" }, "A change counts from the tutor's next answer on.");
  const root = h("div", { class: "options-panel", "data-testid": "options" }, rows, hint);
  let sliders: { info: OptionInfo; input: HTMLInputElement; output: HTMLOutputElement }[] = [];
  let shown: OptionInfo[] | undefined;

  const row = (info: OptionInfo) => {
    const [label, explanation] = LABELS[info.name];
    const id = `option-${info.name}`;
    const output = h("output", { for: id });
    const input = h("input", {
      type: "range",
      id,
      "data-testid": id,
      min: info.min,
      max: info.max,
      // The range need not be a multiple of a step.
      step: "any",
      "aria-describedby": `${id}-hint`,
      oninput: () => tell(info, input, output, snapped(info, input.valueAsNumber)),
      onchange: () => {
        const value = snapped(info, input.valueAsNumber);
        input.valueAsNumber = value;
        call.setOption(info.name, value);
      },
      onkeydown: (e: KeyboardEvent) => {
        const direction = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[e.key];
        if (!direction) return;
        // "any" would leave the step to the browser.
        e.preventDefault();
        const value = snapped(info, input.valueAsNumber + direction * stepOf(info));
        input.valueAsNumber = value;
        tell(info, input, output, value);
        call.setOption(info.name, value);
      },
    });
    sliders.push({ info, input, output });
    return h(
      "div",
      { class: "option", "data-used": info.used },
      h("div", { class: "option-head" }, h("label", { for: id }, label), output),
      input,
      h("p", { class: "hint", id: `${id}-hint` }, info.used ? explanation : (info.reason ?? "It is not used here.")),
    );
  };
  const update = (s: State) => {
    const infos = s.config?.options;
    if (infos && infos !== shown) {
      shown = infos;
      sliders = [];
      const known = ORDER.map((name) => infos.find((i) => i.name === name)).filter((i) => i !== undefined);
      rows.replaceChildren(...known.map(row));
      refresh();
    }
    show(hint, s.phase === "in-call");
    for (const { info, input } of sliders) input.disabled = !info.used || !["start", "in-call", "report"].includes(s.phase);
  };
  const refresh = () => {
    for (const { info, input, output } of sliders) {
      const value = valueOf(info, preferences.get("options"));
      input.valueAsNumber = value;
      tell(info, input, output, value);
    }
  };
  preferences.onChange(refresh);
  return { root, update };
}

function tell(info: OptionInfo, input: HTMLInputElement, output: HTMLOutputElement, value: number): void {
  const text = optionText(info.name, value);
  setText(output, text);
  input.setAttribute("aria-valuetext", text);
}
