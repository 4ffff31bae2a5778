/** What the page says when something is wrong: the cause in plain words, then what to do. Pure. */
import { Refused, Unreachable } from "./api";
import type { Banner } from "./state";

export type MicProblem = "denied" | "absent" | "taken" | "insecure" | "unplugged" | "failed";

export function micProblem(error: unknown): MicProblem {
  const name = error instanceof Error || error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError" || name === "SecurityError") return "denied";
  if (name === "NotFoundError" || name === "OverconstrainedError") return "absent";
  if (name === "NotReadableError" || name === "AbortError") return "taken";
  return "failed";
}

const micWords: Record<MicProblem, [string, string]> = {
  denied: [
    "Your browser is blocking the microphone",
    "Allow the microphone for this page in the browser's address bar, then try again. Until then you can type and listen.",
  ],
  absent: ["No microphone was found", "Plug one in or switch one on, then try again. Until then you can type and listen."],
  taken: [
    "Another program is using your microphone",
    "Close other calls or recorders, then try again. Until then you can type and listen.",
  ],
  insecure: [
    "This address cannot use a microphone",
    "Browsers allow microphones only on https:// or localhost. Start the server with --https and open its https:// address. " +
      "Here you can still type and listen.",
  ],
  unplugged: [
    "Your microphone went away",
    "It was unplugged or switched off. Connect it again or choose another one. You can type meanwhile.",
  ],
  failed: [
    "The microphone did not start",
    "Choose another one in the settings, or try again. Until then you can type and listen.",
  ],
};

export function micBanner(problem: MicProblem): Banner {
  const [title, body] = micWords[problem];
  const actions: Banner["actions"] = problem === "insecure" ? ["dismiss"] : ["retry-mic", "dismiss"];
  return { tone: problem === "insecure" ? "notice" : "error", title, body, actions };
}

/** Why a call could not be opened. */
export function callBanner(error: unknown): Banner {
  const banner = (title: string, body: string, extra: Partial<Banner> = {}): Banner => ({
    tone: "error",
    title,
    body,
    actions: ["retry-call"],
    ...extra,
  });
  if (error instanceof Unreachable) {
    return banner("The server cannot be reached", "Check that it is running and that you are online, then try again.");
  }
  if (error instanceof Refused) {
    const said = error.detail ? sentence(error.detail) : "";
    if (error.kind === "unloaded" || error.kind === "load-failed") {
      // The server is up; what it says is for whoever runs it.
      return banner("The tutor is away", "Its models are not loaded. Whoever runs this server can load them.", {
        retryInS: Math.ceil(error.retryAfterS ?? 30),
      });
    }
    switch (error.status) {
      case 401:
        // The server's own words are for programs here.
        return banner("You are not logged in", "Log in again to go on.", { actions: ["login"] });
      case 403:
        return banner("The server refuses this page", said || "It answers only to addresses that it knows.");
      case 429: {
        const body = said || "All tutors are in a call.";
        // An offer that comes while engines load is refused like one too many; nobody is on the line.
        const title = /still loading|not ready/.test(error.detail) ? "The tutor is not ready yet" : "All lines are busy";
        return banner(title, body, { retryInS: Math.ceil(error.retryAfterS ?? 10) });
      }
      case 503:
        return banner("The tutor is not ready yet", said || "The server is still starting. Try again in a moment.", {
          retryInS: Math.ceil(error.retryAfterS ?? 5),
        });
    }
    return banner("The call could not be opened", said || `The server answered with error ${error.status}.`);
  }
  const said = error instanceof Error && error.message ? sentence(error.message) : "";
  return banner("The call could not be opened", said || "The connection failed. Try again.");
}

/** The same text with a capital first letter and a full stop. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  const closed = /[.!?…]$/.test(trimmed) ? trimmed : `${trimmed}.`;
  return closed.charAt(0).toUpperCase() + closed.slice(1);
}
