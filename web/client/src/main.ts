/** Puts the page together: state, call, views, keys. */
import "./style/index.css";
import { getConfig, Refused, Unreachable } from "./api";
import { canCapture } from "./audio/microphone";
import { Call } from "./call";
import { listenForKeys } from "./keyboard";
import { PreferenceStore } from "./preferences";
import type { TransportKind } from "./protocol";
import type { Phase } from "./state";
import { Store } from "./store";
import { Theme } from "./theme";
import { announcer } from "./views/announcer";
import { bannerView } from "./views/banner";
import { captionsView } from "./views/captions";
import { devicesPanel } from "./views/devices";
import { dock } from "./views/dock";
import { h, setText, show } from "./views/dom";
import { drawer } from "./views/drawer";
import { header } from "./views/header";
import { historyView } from "./views/history";
import { micMeter } from "./views/meter";
import { optionsPanel } from "./views/options";
import { practicePanel } from "./views/practice";
import { reportView } from "./views/report";
import { ribbonView } from "./views/ribbon";
import { startView } from "./views/start";
import { strip } from "./views/strip";
import { callBanner } from "./words-for";

declare global {
  interface Window {
    /** For tests: where the call is, and what carries it (null without a connection). */
    parley: { state(): Phase; transport(): TransportKind | null };
  }
}

const CONFIG_RETRY_MS = 2000;

const store = new Store();
const preferences = new PreferenceStore();
const theme = new Theme(preferences);
const call = new Call(store, preferences);

const options = optionsPanel(call, preferences);
const settings = drawer(preferences, options.root);
const top = header(theme, () => settings.open());
const banner = bannerView(call, store);
const devices = devicesPanel(call, preferences);
const practice = practicePanel(call);
const meter = micMeter(call.microphone);
const start = startView(call, preferences);
const captions = captionsView();
const controls = dock(call);
const ribbon = ribbonView();
const voices = strip({
  learner: () => (store.state.muted ? 0 : call.microphone.level()),
  tutor: () => call.tutorLevel(),
});
const report = reportView({
  again: () => void call.dial(),
  change: () => store.dispatch({ type: "again" }),
});
const history = historyView(() => store.state);
top.root.querySelector(".top-tools")!.prepend(history.button);
const live = announcer();
// What is on the screen needs no heading; whoever cannot see it is brought here when the call begins.
const callTitle = h("h1", { class: "sr", tabindex: -1 });
const callPage = h("main", { class: "in-call" }, callTitle, voices.root, captions.root, ribbon.root, controls.root);

document
  .getElementById("app")!
  .append(top.root, banner.root, start.root, callPage, report.root, history.root, settings.root, live.root);

/** Panels that belong to the start page before a call and to the drawer during one: one element each, moved. */
function place(phase: Phase): void {
  const before = phase === "start";
  (before ? start.devicesSlot : settings.soundSlot).append(devices.root);
  (before ? start.practiceSlot : settings.practiceSlot).append(practice.root);
  (before ? devices.meterSlot : controls.meterSlot).append(meter.root);
}

store.subscribe((s, before) => {
  if (s.phase !== before.phase) {
    if ((s.phase === "start") !== (before.phase === "start")) place(s.phase);
    document.body.dataset["phase"] = s.phase;
    show(callPage, s.phase !== "start" && s.phase !== "report");
    if (s.phase === "connecting") {
      const lesson = s.config?.lessons.find((l) => l.id === s.lesson);
      setText(callTitle, lesson ? `Call: ${lesson.title}` : "Call");
      // The button that was pressed is gone; without this the focus would be nowhere.
      callTitle.focus({ preventScroll: true });
    }
    if (s.phase === "start" && before.phase === "report") void call.openMicrophone(true);
  }
  const views = [top, banner, start, devices, practice, captions, controls, ribbon, voices, report, settings, options, history];
  for (const view of views) view.update(s);
  live.update(s, before);
});

const applyPreferences = () => {
  document.documentElement.dataset["captions"] = preferences.get("captionSize");
  ribbon.setVisible(preferences.get("latency"));
};
preferences.onChange(applyPreferences);
applyPreferences();

const animate = () => {
  if (!meter.root.hidden && document.visibilityState === "visible") meter.draw(store.state.muted);
  requestAnimationFrame(animate);
};
requestAnimationFrame(animate);

listenForKeys(store, call, { focusInput: controls.focusInput, openSettings: () => settings.open() });

window.parley = { state: () => store.state.phase, transport: () => store.state.transport };

place("start");
document.body.dataset["phase"] = "start";
show(callPage, false);
for (const view of [top, start, devices, practice, report, settings, options]) view.update(store.state);
void configure();
void greetMicrophone();

async function configure(): Promise<void> {
  try {
    const config = await getConfig();
    store.dispatch({ type: "configured", config, lesson: preferences.get("lesson"), level: preferences.get("level") });
    // Fetched before it is needed: dialling shall not wait for it.
    void import("./transport/webrtc").catch(() => {});
    const { banner } = store.state;
    if (banner && store.state.phase === "start" && banner.actions.length === 0)
      store.dispatch({ type: "banner", banner: null });
  } catch (e) {
    if (e instanceof Refused && e.status === 401) {
      logIn();
      return;
    }
    // The server may just be starting: say so, and look again by ourselves.
    const passing = e instanceof Unreachable || (e instanceof Refused && e.status >= 500);
    store.dispatch({ type: "banner", banner: { ...callBanner(e), actions: [], retryInS: undefined } });
    if (passing) setTimeout(() => void configure(), CONFIG_RETRY_MS);
  }
}

/** The server shows its login page at the page's own address; loading it twice in a row would be a loop. */
function logIn(): void {
  const key = "parley-login-at";
  const last = Number(sessionStorage.getItem(key) ?? 0);
  if (Date.now() - last > 10_000) {
    sessionStorage.setItem(key, String(Date.now()));
    location.reload();
    return;
  }
  store.dispatch({ type: "banner", banner: callBanner(new Refused(401, "")) });
}

/** Show the level at once where permission was given before. Asking for it is left to a click. */
async function greetMicrophone(): Promise<void> {
  if (!canCapture()) {
    // Says why, before anybody wonders.
    await call.openMicrophone();
    return;
  }
  try {
    const permission = await navigator.permissions.query({ name: "microphone" as PermissionName });
    if (permission.state === "granted") await call.openMicrophone(true);
  } catch {
    // Not every browser can say; the person will be asked.
  }
}
