/** What the page remembers on this device. Private windows may refuse storage: then nothing is remembered. */
import type { OptionChoices } from "./options";

export interface Preferences {
  theme: "system" | "light" | "dark";
  connection: "auto" | "webrtc" | "websocket";
  captionSize: "normal" | "large";
  latency: boolean;
  micId: string;
  speakerId: string;
  lesson: string;
  level: string;
  /** Consent to a recording, where the server makes one. */
  record: boolean;
  /** Options of the call that were set here. */
  options: OptionChoices;
}

const KEY = "parley";
const defaults: Preferences = {
  theme: "system",
  connection: "auto",
  captionSize: "normal",
  latency: true,
  micId: "",
  speakerId: "",
  lesson: "",
  level: "",
  record: true,
  options: {},
};

export class PreferenceStore {
  private values: Preferences;
  private listeners: ((values: Preferences) => void)[] = [];

  constructor() {
    this.values = { ...defaults, ...read() };
    // For a single visit, from the address: ?transport=websocket
    const asked = new URLSearchParams(location.search).get("transport");
    if (asked === "websocket" || asked === "webrtc") this.values.connection = asked;
  }

  get<K extends keyof Preferences>(key: K): Preferences[K] {
    return this.values[key];
  }

  set<K extends keyof Preferences>(key: K, value: Preferences[K]): void {
    this.values = { ...this.values, [key]: value };
    try {
      localStorage.setItem(KEY, JSON.stringify(this.values));
    } catch {
      // Not remembered.
    }
    for (const listener of this.listeners) listener(this.values);
  }

  onChange(listener: (values: Preferences) => void): void {
    this.listeners.push(listener);
  }
}

function read(): Partial<Preferences> {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Preferences>;
  } catch {
    return {};
  }
}
