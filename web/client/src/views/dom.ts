/** A few lines instead of a framework. */

type Child = Node | string | null | undefined | false;
type Props = Record<string, string | number | boolean | null | undefined | ((event: never) => void)>;

/** An element. Functions become listeners ("onclick"), booleans toggle attributes, `class` and the rest are attributes. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    else setAttribute(element, name, value);
  }
  element.append(...children.filter((c): c is Node | string => c !== null && c !== undefined && c !== false));
  return element;
}

export function setAttribute(element: Element, name: string, value: string | number | boolean | null | undefined): void {
  if (value === false || value === null || value === undefined) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : String(value));
}

/** Change text only where it differs, so that nothing is announced or laid out twice. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element: HTMLElement, visible: boolean): void {
  element.hidden = !visible;
}

const SVG = "http://www.w3.org/2000/svg";

/** Icons on a 24-unit grid, drawn with one stroke width. */
const paths = {
  phone:
    "M6.5 3.5h3l1.6 4.2-2 1.6a12 12 0 0 0 5.6 5.6l1.6-2 4.2 1.6v3a2.5 2.5 0 0 1-2.7 2.5A16.5 16.5 0 0 1 4 6.2a2.5 2.5 0 0 1 2.5-2.7Z",
  hangup:
    "M3 13.8c0-4 4.4-6 9-6s9 2 9 6v1.4a1 1 0 0 1-1.2 1l-3.4-.7a1 1 0 0 1-.8-1v-2.1a11 11 0 0 0-7.2 0v2.1a1 1 0 0 1-.8 1l-3.4.7a1 1 0 0 1-1.2-1Z",
  mic: "M12 3.5a3 3 0 0 0-3 3V12a3 3 0 0 0 6 0V6.500a3 3 0 0 0-3-3ZM5.500 11.500a6.500 6.500 0 0 0 13 0M12 18v3",
  micOff:
    "M9 9.500V12a3 3 0 0 0 4.800 2.400M15 11V6.500a3 3 0 0 0-5.700-1.300M5.500 11.500a6.500 6.500 0 0 0 10.800 4.900M18 14a6.500 6.500 0 0 0 .5-2.500M12 18v3M4 4l16 16",
  hand: "M8 12V6a1.500 1.500 0 0 1 3 0v5M11 11V4.500a1.500 1.500 0 0 1 3 0V11M14 11V6a1.500 1.500 0 0 1 3 0v8a6.500 6.500 0 0 1-6.500 6.500c-2.500 0-4-1-5.300-3.300l-2-3.600a1.500 1.500 0 0 1 2.600-1.500L8 14.500",
  send: "M4.500 12h14M13 6l6 6-6 6",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M13 7a2 2 0 1 0 4 0 2 2 0 1 0-4 0M7 17a2 2 0 1 0 4 0 2 2 0 1 0-4 0",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 1 0 0-8ZM12 2.500v2M12 19.500v2M2.500 12h2M19.500 12h2M5.300 5.300l1.400 1.400M17.300 17.300l1.400 1.400M5.300 18.700l1.400-1.400M17.300 6.700l1.400-1.400",
  moon: "M20 14.500A8.500 8.500 0 0 1 9.500 4 8.500 8.500 0 1 0 20 14.500Z",
  close: "M6 6l12 12M18 6 6 18",
  chevron: "M7 10l5 5 5-5",
  speaker: "M4 9.500v5h3.500L12 18.500v-13L7.500 9.500ZM15.500 9a4 4 0 0 1 0 6M18 6.500a8 8 0 0 1 0 11",
  print: "M7 9V3.500h10V9M7 17H4.500v-8h15v8H17M7 14h10v6.500H7Z",
  again: "M4.500 12a7.500 7.500 0 1 0 2.400-5.500L4.500 8.800M4.500 4v4.800h4.800",
  down: "M12 5v14M6 13l6 6 6-6",
  file: "M12 15.5v-11M7.500 8.500 12 4l4.500 4.500M4.500 15v4.500h15V15",
  history: "M4.500 12a7.500 7.500 0 1 0 2.400-5.500L4.500 8.800M4.500 4v4.800h4.800M12 8v4.200l3 1.800",
  play: "M8 5.500v13l10.500-6.500Z",
  back: "M19.500 12h-14M11 6l-6 6 6 6",
  trash: "M5 7h14M10 7V4.500h4V7M7 7l.8 12.500h8.400L17 7M10.200 10.500v5.500M13.800 10.500v5.500",
  alert: "M12 8v5M12 16.500v.1M12 3.500a8.500 8.500 0 1 0 0 17 8.500 8.500 0 1 0 0-17Z",
} as const;
export type IconName = keyof typeof paths;

export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", paths[name]);
  svg.append(path);
  return svg;
}

/** Two facing speech marks: the page's own sign. */
export function mark(): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 32 32");
  svg.setAttribute("class", "mark");
  svg.setAttribute("aria-hidden", "true");
  for (const [d, part] of [
    ["M4 15.500a9.500 9.500 0 0 1 9.500-9.500h.5v19h-1A9 9 0 0 1 4 16Z", "you"],
    ["M28 15.500a9.500 9.500 0 0 0-9.500-9.500H18v19h1a9 9 0 0 0 9-9Z", "tutor"],
  ] as const) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    path.setAttribute("class", part);
    svg.append(path);
  }
  return svg;
}

/** A labelled native select. Native, since nothing else works as well on phones and with screen readers. */
export function selectField(
  label: string,
  testId: string,
  onChange: (value: string) => void,
): { root: HTMLElement; select: HTMLSelectElement } {
  const select = h("select", {
    id: testId,
    "data-testid": testId,
    onchange: () => onChange(select.value),
  });
  const root = h(
    "div",
    { class: "field" },
    h("label", { for: testId }, label),
    h("div", { class: "select" }, select, icon("chevron")),
  );
  return { root, select };
}

/** Replace a select's options where they changed, and choose one. */
export interface Option {
  value: string;
  label: string;
  /** Options of one group stand under its name; those of a group must follow one another. */
  group?: string;
}

export function setOptions(select: HTMLSelectElement, options: Option[], value: string): void {
  const key = JSON.stringify(options);
  if (select.dataset["options"] !== key) {
    select.dataset["options"] = key;
    select.replaceChildren();
    let group: HTMLElement = select;
    for (const { value, label, group: name } of options) {
      if (name === undefined) group = select;
      else if (!(group instanceof HTMLOptGroupElement) || group.label !== name) {
        group = h("optgroup", { label: name });
        select.append(group);
      }
      group.append(h("option", { value }, label));
    }
  }
  if (select.value !== value) select.value = value;
}

/** "intermediate" → "Intermediate", "words_per_minute" → "Words per minute". */
export function readable(key: string): string {
  const text = key
    .replace(/[_-]+/g, " ")
    .replace(/\b(cefr|wer)\b/g, (w) => w.toUpperCase())
    .trim();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** 83 → "1 min 23 s". */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  return minutes > 0 ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

/** 83 → "1:23". */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
