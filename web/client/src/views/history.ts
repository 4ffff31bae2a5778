/** Earlier sessions: found, read, heard again, taken away, deleted. The address (`#history/…`) says what is shown. */
import { audioAddress, deleteSession, exportAddress, getDetail, getHistory, getReport, Refused, reportPageAddress } from "../api";
import { hashOf, lengthOf, lineAt, placeOf, routeOf } from "../history";
import type { HistoryDetail, HistoryItem, Report } from "../protocol";
import type { State } from "../state";
import { sentence } from "../words-for";
import { correction } from "./captions";
import { clock, duration, h, icon, readable, setText, show } from "./dom";
import { printable } from "./report";
import { reportSections } from "./report-sections";

const SEARCH_MS = 250;

export function historyView(state: () => State) {
  const button = h(
    "button",
    {
      class: "button quiet round",
      type: "button",
      "data-testid": "history-button",
      "aria-label": "Earlier calls",
      title: "Earlier calls",
      onclick: () => (location.hash = routeOf(location.hash) ? "" : hashOf()),
    },
    icon("history"),
  );
  const list = listPart(state, (id) => (location.hash = hashOf(id)));
  const session = sessionPart(state);
  const root = h("main", { class: "earlier", "data-testid": "history", hidden: true }, list.root, session.root);
  let open = false;

  const route = () => {
    const { phase } = state();
    const wanted = phase === "start" || phase === "report" ? routeOf(location.hash) : null;
    const before = open;
    open = wanted !== null;
    show(root, open);
    document.body.toggleAttribute("data-history", open);
    button.setAttribute("aria-expanded", String(open));
    show(list.root, wanted?.view === "list");
    show(session.root, wanted?.view === "session");
    if (wanted?.view === "session") void session.open(wanted.id);
    else session.close();
    if (wanted?.view === "list") void list.open();
    if (before && !open) button.focus();
    if (open) scrollTo(0, 0);
  };
  addEventListener("hashchange", route);

  let phase: State["phase"] | null = null;
  const update = (s: State) => {
    if (s.phase === phase) return;
    phase = s.phase;
    show(button, phase === "start" || phase === "report");
    // A call was begun (the key works everywhere): the history makes way.
    if (open && phase !== "start" && phase !== "report") location.hash = "";
    else route();
  };
  return { root, button, update };
}

function listPart(state: () => State, onOpen: (id: string) => void) {
  const title = h("h1", { tabindex: -1 }, "Earlier calls");
  const search = h("input", {
    type: "text",
    id: "history-search",
    "data-testid": "history-search",
    autocomplete: "off",
    enterkeyhint: "search",
    maxlength: 200,
    placeholder: "A word that was said",
    oninput: () => {
      clearTimeout(timer);
      timer = window.setTimeout(() => void load(), SEARCH_MS);
    },
  });
  const found = h("p", { class: "hint", role: "status", "data-testid": "history-found" });
  const rows = h("ul", { class: "sessions" });
  const more = h("button", { class: "button", type: "button", hidden: true, onclick: () => void load(true) }, "Show more");
  const root = h(
    "section",
    {},
    back("", "Back to the start"),
    title,
    h("div", { class: "field search", role: "search" }, h("label", { for: "history-search" }, "Search what was said"), search),
    found,
    rows,
    more,
  );
  let timer = 0;
  let asked = 0;
  let cursor: string | null = null;

  const load = async (further = false) => {
    const mine = ++asked;
    const q = search.value;
    try {
      const page = await getHistory(q, further ? cursor : null);
      // A slow answer to an earlier question is no answer to this one.
      if (mine !== asked) return;
      cursor = page.next;
      const items = page.items.map((item) => row(item));
      if (further) rows.append(...items);
      else rows.replaceChildren(...items);
      show(more, cursor !== null);
      setText(found, summary(rows.children.length, cursor !== null, q.trim()));
      if (further) items[0]?.querySelector("a")?.focus();
    } catch (e) {
      if (mine === asked) setText(found, problem(e));
    }
  };
  const row = (item: HistoryItem) => {
    const seconds = lengthOf(item);
    return h(
      "li",
      {},
      h(
        "a",
        {
          href: hashOf(item.id),
          "data-testid": "history-item",
          onclick: (e: MouseEvent) => {
            if (e.ctrlKey || e.metaKey || e.shiftKey) return;
            e.preventDefault();
            onOpen(item.id);
          },
        },
        h("span", { class: "what" }, lessonTitle(state(), item.lesson)),
        h("span", { class: "when" }, when(item.started_at)),
        h(
          "span",
          { class: "more" },
          [
            readable(item.level),
            seconds === null ? "Still running" : duration(seconds),
            `${item.turn_count} ${item.turn_count === 1 ? "turn" : "turns"}`,
            item.recorded ? "Recorded" : "",
          ]
            .filter(Boolean)
            .join(" · "),
        ),
        typeof item.score === "number"
          ? h(
              "span",
              { class: "mark-of" },
              h("span", { class: "sr" }, "Score "),
              String(Math.round(item.score)),
              h("small", {}, "/ 100"),
            )
          : null,
      ),
    );
  };
  return {
    root,
    open: async () => {
      title.focus({ preventScroll: true });
      await load();
    },
  };
}

function summary(count: number, more: boolean, q: string): string {
  if (count === 0) return q ? `No call in which “${q}” was said.` : "No calls yet. What you practise will be kept here.";
  const calls = `${count}${more ? " newest" : ""} ${count === 1 ? "call" : "calls"}`;
  return q ? `${calls} in which “${q}” was said` : calls;
}

function sessionPart(state: () => State) {
  const root = h("section", { "data-testid": "history-session" });
  let shown: string | null = null;
  let audio: HTMLAudioElement | null = null;

  const close = () => {
    audio?.pause();
    audio?.removeAttribute("src");
    audio = shown = null;
    root.replaceChildren();
  };

  const open = async (id: string) => {
    if (shown === id) return;
    close();
    shown = id;
    root.replaceChildren(back(hashOf(), "All earlier calls"), h("p", { class: "hint", role: "status" }, "Loading…"));
    try {
      const [detail, report] = await Promise.all([getDetail(id), getReport(id, 1).catch(() => null)]);
      if (shown === id) draw(detail, report);
    } catch (e) {
      if (shown === id)
        root.replaceChildren(back(hashOf(), "All earlier calls"), h("p", { class: "notice", role: "alert" }, problem(e)));
    }
  };

  const draw = (detail: HistoryDetail, report: Report | null) => {
    const title = h("h1", { tabindex: -1 }, lessonTitle(state(), detail.lesson));
    const seconds = lengthOf(detail);
    const facts = [when(detail.started_at), readable(detail.level), seconds === null ? "Still running" : duration(seconds)];
    const places = detail.turns.map((turn) => (detail.recorded ? placeOf(turn, detail.recording_started_at) : null));
    const lines = detail.turns.map((turn, index) => {
      const place = places[index] ?? null;
      const name = turn.role === "learner" ? "You" : "Tutor";
      const notes = [
        turn.typed ? "typed" : "",
        turn.source === "upload" ? "from a file" : "",
        turn.interrupted ? "interrupted" : "",
      ];
      const text = h(
        "span",
        { class: "said" },
        h("span", { class: "who" }, name, ...notes.filter(Boolean).map((note) => h("small", {}, ` · ${note}`))),
        h("span", { class: "words" }, turn.text),
      );
      // The whole line is the button: its words are its name, to a screen reader as well.
      const line =
        place === null
          ? h("div", { class: "line-of" }, text)
          : h(
              "button",
              { class: "line-of", type: "button", "data-testid": "history-line", onclick: () => playFrom(place) },
              h("span", { class: "at" }, h("span", { class: "sr" }, "Play from "), icon("play"), clock(place)),
              text,
            );
      const fixes = (turn.corrections ?? []).map((item) => correction(item));
      return h("li", { class: turn.role }, line, fixes.length > 0 ? h("ul", { class: "corrections" }, ...fixes) : null);
    });
    if (detail.recorded) {
      audio = h("audio", {
        controls: true,
        preload: "metadata",
        src: audioAddress(detail.id),
        "data-testid": "history-audio",
        "aria-label": "Recording of this call",
      });
      const player = audio;
      player.addEventListener("timeupdate", () => {
        const now = lineAt(places, player.currentTime);
        lines.forEach((li, index) => li.toggleAttribute("data-playing", index === now && player.currentTime > 0));
      });
    }
    const playFrom = (place: number) => {
      if (!audio) return;
      audio.currentTime = place;
      void audio.play().catch(() => {});
    };
    const status = h("p", { class: "hint", role: "status" });
    // The server deletes no call that goes on, so the page does not offer it.
    if (lengthOf(detail) === null) setText(status, "This call is still running. Once it has ended, it can be deleted here.");
    const page = printable("history-report-page");
    page.href = reportPageAddress(detail.id);
    root.replaceChildren(
      back(hashOf(), "All earlier calls"),
      title,
      h("p", { class: "facts" }, facts.join(" · ")),
      audio ?? h("p", { class: "hint" }, "This call was not recorded; its words were kept."),
      ...(report ? [reportPart(report, detail.id)] : []),
      h("section", { class: "transcript" }, h("h2", {}, "What was said"), h("ol", {}, ...lines)),
      h(
        "section",
        { class: "keep", "aria-label": "Take away or delete" },
        h("h2", {}, "Take it with you"),
        h(
          "div",
          { class: "row" },
          download(detail.id, "markdown", "Transcript"),
          download(detail.id, "json", "All data (JSON)"),
          detail.recorded ? download(detail.id, "audio", "Recording") : null,
          download(detail.id, "zip", "Everything (ZIP)"),
          report ? page : null,
          lengthOf(detail) === null
            ? null
            : h(
                "button",
                {
                  class: "button delete",
                  type: "button",
                  "data-testid": "history-delete",
                  onclick: () => void confirmDelete(detail, status),
                },
                icon("trash"),
                "Delete",
              ),
        ),
        status,
      ),
    );
    title.focus({ preventScroll: true });
  };

  const confirmDelete = async (detail: HistoryDetail, status: HTMLElement) => {
    if (!(await confirmed(detail.recorded === true))) return;
    try {
      audio?.pause();
      await deleteSession(detail.id);
      location.hash = hashOf();
    } catch (e) {
      setText(status, problem(e));
    }
  };
  return { root, open, close };
}

/** Asks in a dialog of the page, which keeps the focus and closes with Escape. */
function confirmed(recorded: boolean): Promise<boolean> {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { class: "confirm", "aria-labelledby": "confirm-title", "data-testid": "confirm" },
      h("h2", { id: "confirm-title" }, "Delete this call?"),
      h(
        "p",
        {},
        `${recorded ? "Its recording, transcript" : "Its transcript"}, figures and report are deleted from this server. `,
        "This cannot be undone.",
      ),
      h(
        "div",
        { class: "row" },
        h("button", { class: "button", type: "button", autofocus: true, onclick: () => dialog.close() }, "Keep it"),
        h(
          "button",
          { class: "button danger", type: "button", "data-testid": "confirm-delete", onclick: () => dialog.close("delete") },
          "Delete for good",
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "delete");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

function reportPart(report: Report, id: string): HTMLElement {
  return h("div", { class: "report-body", "data-testid": "history-report" }, ...reportSections(report, id));
}

function back(hash: string, text: string): HTMLElement {
  return h("a", { class: "back", href: hash || "#" }, icon("back"), text);
}

function download(id: string, format: Parameters<typeof exportAddress>[1], text: string): HTMLElement {
  return h("a", { class: "button", href: exportAddress(id, format), download: true, "data-testid": `export-${format}` }, text);
}

function lessonTitle(s: State, id: string): string {
  return s.config?.lessons.find((lesson) => lesson.id === id)?.title ?? readable(id);
}

function when(iso: string): string {
  return new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

function problem(e: unknown): string {
  if (e instanceof Refused && e.status === 404) return "This call is not here (any more).";
  if (e instanceof Refused) return sentence(e.detail || "The server refused");
  return "The server could not be reached.";
}
