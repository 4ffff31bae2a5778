/** What the learner can do during a call: say it, type it, stop the tutor, hang up. */
import type { Call } from "../call";
import { MAX_TEXT_CHARS } from "../protocol";
import type { State } from "../state";
import { findGap } from "../words";
import { h, icon, setText, show } from "./dom";

export function dock(call: Call) {
  const suggestions = h("div", {
    class: "suggestions",
    role: "group",
    "aria-label": "You could say",
    "data-testid": "suggestions",
  });
  const input = h("input", {
    type: "text",
    id: "say",
    "data-testid": "text-input",
    maxlength: MAX_TEXT_CHARS,
    autocomplete: "off",
    enterkeyhint: "send",
    placeholder: "Type instead of speaking",
    "aria-label": "Type instead of speaking",
  });
  const sendButton = h(
    "button",
    { class: "button round send", type: "submit", "data-testid": "send-text", "aria-label": "Send" },
    icon("send"),
  );
  const form = h(
    "form",
    {
      class: "say",
      onsubmit: (e: SubmitEvent) => {
        e.preventDefault();
        call.sendText(input.value);
        input.value = "";
      },
    },
    input,
    sendButton,
  );
  form.addEventListener("dragover", (e) => e.preventDefault());
  form.addEventListener("drop", (e) => {
    e.preventDefault();
    void take(e.dataTransfer?.files[0]);
  });
  let state: State | null = null;
  const file = h("input", {
    type: "file",
    accept: "audio/*,.wav,.mp3,.ogg,.webm,.m4a,.flac",
    hidden: true,
    "data-testid": "upload-file",
    onchange: () => void take(file.files?.[0]),
  });
  const upload = h(
    "button",
    {
      class: "button round upload",
      type: "button",
      "data-testid": "upload-button",
      "aria-label": "Send an audio file",
      title: "Send an audio file",
      onclick: () => file.click(),
    },
    icon("file"),
  );
  let sending = false;
  const take = async (chosen: File | undefined) => {
    if (!chosen || sending) return;
    sending = true;
    upload.setAttribute("aria-busy", "true");
    upload.disabled = true;
    await call.sendFile(chosen);
    sending = false;
    upload.removeAttribute("aria-busy");
    file.value = "";
    if (state) update(state);
  };
  const muteLabel = h("span", { class: "label" });
  const mute = h(
    "button",
    {
      class: "button",
      type: "button",
      "data-testid": "mute-button",
      "aria-keyshortcuts": "m",
      onclick: () => state && call.setMuted(!state.muted),
    },
    icon("mic"),
    muteLabel,
  );
  const meterSlot = h("div", { class: "meter-slot" });
  const interrupt = h(
    "button",
    {
      class: "button",
      type: "button",
      "data-testid": "interrupt-button",
      "aria-keyshortcuts": "Escape",
      onclick: () => call.interrupt(),
    },
    icon("hand"),
    h("span", { class: "label" }, "Interrupt"),
  );
  const hangLabel = h("span", { class: "label" });
  const hangup = h(
    "button",
    { class: "button danger", type: "button", "data-testid": "hangup-button", onclick: () => void call.hangUp() },
    icon("hangup"),
    hangLabel,
  );
  const root = h(
    "section",
    { class: "dock", "aria-label": "Controls" },
    suggestions,
    h("div", { class: "controls" }, h("div", { class: "voice" }, mute, meterSlot), form, upload, file, interrupt, hangup),
  );

  /** Say a suggestion. One with a gap is begun in the text field instead, for the learner to fill. */
  const offer = (text: string) => {
    const gap = findGap(text);
    if (!gap) {
      call.sendText(text);
      return;
    }
    input.value = gap.before + gap.after;
    input.focus();
    input.setSelectionRange(gap.before.length, gap.before.length);
  };

  let chips: string[] = [];
  const update = (s: State) => {
    state = s;
    const live = s.phase === "in-call";
    if (s.suggestions !== chips) {
      chips = s.suggestions;
      suggestions.replaceChildren(
        ...(chips.length > 0 ? [h("span", { class: "lead", "aria-hidden": "true" }, "You could say")] : []),
        ...chips.map((text) => h("button", { class: "chip", type: "button", onclick: () => offer(text) }, text)),
      );
    }
    show(suggestions, chips.length > 0 && live);
    const hasMic = s.mic === "ok";
    mute.disabled = !hasMic || !live;
    mute.setAttribute("aria-pressed", String(s.muted));
    mute.querySelector("svg")?.replaceWith(icon(s.muted || !hasMic ? "micOff" : "mic"));
    setText(muteLabel, hasMic ? (s.muted ? "Unmute" : "Mute") : "No mic");
    show(meterSlot, hasMic);
    input.disabled = sendButton.disabled = !live;
    upload.disabled = !live || sending;
    const answering = s.turns.some((t) => t.who === "tutor" && !t.ended);
    interrupt.disabled = !live || !(s.speaking.tutor || s.thinking || answering);
    hangup.disabled = s.phase === "ending";
    setText(hangLabel, s.phase === "connecting" ? "Cancel" : s.phase === "ending" ? "Ending…" : "Hang up");
  };
  return { root, meterSlot, update, focusInput: () => input.focus() };
}
