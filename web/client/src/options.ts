/** What a learner may set for a call: the server's ranges, and this device's choices within them. Pure. */
import type { ClientConfig, OptionInfo, OptionName } from "./protocol";

export type OptionChoices = Partial<Record<OptionName, number>>;

/** The value to show: what was chosen here, brought into the server's range, or its default. */
export function valueOf(info: OptionInfo, choices: OptionChoices): number {
  const chosen = choices[info.name];
  if (typeof chosen !== "number" || !Number.isFinite(chosen)) return info.default;
  const within = Math.min(info.max, Math.max(info.min, chosen));
  return info.whole ? Math.round(within) : within;
}

/** What to ask for with a new call: only what was chosen and is used, so that the server's defaults stay its own. */
export function wantedOptions(config: ClientConfig | null, choices: OptionChoices): OptionChoices {
  const wanted: OptionChoices = {};
  for (const info of config?.options ?? []) {
    if (info.used && choices[info.name] !== undefined) wanted[info.name] = valueOf(info, choices);
  }
  return wanted;
}

/** How far one step of a slider goes: a twentieth, or ten tokens of many. */
export function stepOf(info: OptionInfo): number {
  if (!info.whole) return 0.05;
  return info.max - info.min > 100 ? 10 : 1;
}

/** The nearest value that a slider stops at. The ends of the range are among them. */
export function snapped(info: OptionInfo, value: number): number {
  const step = stepOf(info);
  const onStep = Number((Math.round(value / step) * step).toFixed(4));
  return Math.min(info.max, Math.max(info.min, onStep));
}

/** "0.85 ×", "200 tokens", "0.7". */
export function optionText(name: OptionName, value: number): string {
  const number = Number(value.toFixed(2)).toString();
  if (name === "speech_rate") return `${number} ×`;
  return name === "max_tokens" ? `${number} tokens` : number;
}
