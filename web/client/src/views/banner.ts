/** What went wrong and what to do about it, on top of the page. */
import type { Call } from "../call";
import type { Banner, BannerAction, State } from "../state";
import type { Store } from "../store";
import { h, icon, setText, show } from "./dom";

export function bannerView(call: Call, store: Store) {
  const title = h("strong");
  const body = h("p");
  const actions = h("div", { class: "banner-actions" });
  const root = h(
    "div",
    { class: "banner", role: "alert", "data-testid": "error-banner", hidden: true },
    icon("alert"),
    h("div", { class: "banner-text" }, title, body),
    actions,
  );
  let shown: Banner | null = null;
  let timer = 0;

  const dismiss = () => store.dispatch({ type: "banner", banner: null });
  const button = (label: string, action: () => void) =>
    h("button", { class: "button", type: "button", onclick: action }, label);
  const make: Record<BannerAction, () => HTMLElement> = {
    "retry-call": () => button("Call again", () => void call.dial()),
    "retry-mic": () => button("Try the microphone again", () => void call.retryMicrophone()),
    play: () => button("Play the sound", () => void call.resumePlayback()),
    login: () => button("Log in", () => location.reload()),
    dismiss: () =>
      h("button", { class: "button quiet round", type: "button", "aria-label": "Dismiss", onclick: dismiss }, icon("close")),
  };

  const update = (s: State) => {
    if (s.banner === shown) return;
    shown = s.banner;
    clearInterval(timer);
    show(root, shown !== null);
    if (!shown) return;
    const banner = shown;
    root.dataset["tone"] = banner.tone;
    setText(title, banner.title);
    setText(body, banner.body);
    show(body, banner.body !== "");
    actions.replaceChildren(...banner.actions.map((a) => make[a]()));
    if (banner.retryInS) countDown(banner.retryInS);
  };

  /** The call button says in how many seconds it makes sense; until then it waits. */
  const countDown = (seconds: number) => {
    const again = actions.querySelector("button");
    if (!again) return;
    const until = performance.now() + seconds * 1000;
    const tick = () => {
      const left = Math.ceil((until - performance.now()) / 1000);
      again.disabled = left > 0;
      setText(again, left > 0 ? `Call again in ${left} s` : "Call again");
      if (left <= 0) clearInterval(timer);
    };
    timer = window.setInterval(tick, 250);
    tick();
  };
  return { root, update };
}
