/** Microphone and speaker: pickers, a live level and a test sound. Lives on the start page, and in the drawer during a call. */
import { canChooseSpeaker, playTestSound } from "../audio/context";
import { canCapture } from "../audio/microphone";
import type { Call } from "../call";
import type { PreferenceStore } from "../preferences";
import type { State } from "../state";
import { h, icon, selectField, setOptions, setText, show } from "./dom";

export function devicesPanel(call: Call, preferences: PreferenceStore) {
  const mic = selectField("Microphone", "mic-select", (id) => void call.chooseMicrophone(id));
  const speaker = selectField("Speaker", "speaker-select", (id) => void call.chooseSpeaker(id));
  const check = h(
    "button",
    { class: "button", type: "button", "data-testid": "mic-check", onclick: () => void call.openMicrophone() },
    icon("mic"),
    "Check your microphone",
  );
  const checkRow = h("div", {}, check);
  const micHint = h("p", { class: "hint" });
  const test = h("button", { class: "button", type: "button" }, icon("speaker"), "Play a sound");
  test.addEventListener("click", () => {
    test.disabled = true;
    playTestSound(preferences.get("speakerId"))
      .catch(() => {})
      .finally(() => (test.disabled = false));
  });
  const speakerHint = h("p", { class: "hint" });
  const meterSlot = h("div", { class: "meter-slot" });
  const root = h(
    "div",
    { class: "devices" },
    h("div", { class: "device" }, mic.root, meterSlot, checkRow, micHint),
    h("div", { class: "device" }, speaker.root, h("div", {}, test), speakerHint),
  );

  let micState: State["mic"] = "unknown";
  let inCall = false;

  const list = async () => {
    const all = (await navigator.mediaDevices?.enumerateDevices?.().catch(() => [])) ?? [];
    const named = (kind: MediaDeviceKind) => all.filter((d) => d.kind === kind && d.deviceId !== "");
    const mics = named("audioinput");
    setOptions(
      mic.select,
      mics.length > 0
        ? mics.map((d, i) => ({ value: d.deviceId, label: d.label || `Microphone ${i + 1}` }))
        : [{ value: "", label: micState === "none" || !canCapture() ? "No microphone" : "Default microphone" }],
      call.microphone.deviceId ??
        (mics.some((d) => d.deviceId === preferences.get("micId")) ? preferences.get("micId") : (mics[0]?.deviceId ?? "")),
    );
    mic.select.disabled = mics.length === 0;
    const speakers = canChooseSpeaker() ? named("audiooutput") : [];
    const wanted = preferences.get("speakerId");
    setOptions(
      speaker.select,
      speakers.length > 0
        ? speakers.map((d, i) => ({ value: d.deviceId, label: d.label || `Speaker ${i + 1}` }))
        : [{ value: "", label: "System speaker" }],
      speakers.some((d) => d.deviceId === wanted) ? wanted : (speakers[0]?.deviceId ?? ""),
    );
    speaker.select.disabled = speakers.length === 0;
    setText(speakerHint, canChooseSpeaker() ? "" : "This browser plays through the system's speaker.");
    show(speakerHint, !canChooseSpeaker());
  };
  navigator.mediaDevices?.addEventListener?.("devicechange", () => void list());
  void list();

  const update = (s: State) => {
    inCall = s.phase !== "start";
    if (s.mic !== micState) {
      micState = s.mic;
      void list();
    }
    const unasked = s.mic !== "ok";
    show(checkRow, unasked && canCapture());
    show(meterSlot, !unasked && !inCall);
    const words = !canCapture()
      ? "This address cannot use a microphone. You can type and listen."
      : s.mic === "ok"
        ? inCall
          ? ""
          : "Say something: the bar should move."
        : s.mic === "none"
          ? "Without a microphone you can type and listen."
          : "The browser asks once for permission.";
    setText(micHint, words);
    show(micHint, words !== "");
  };
  return { root, meterSlot, update };
}
