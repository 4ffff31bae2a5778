/** What the page knows: one state, changed only by `reduce`. Pure: no DOM, no clock, no network. */
import type {
  ClientConfig,
  CorrectionItem,
  Level,
  MetricsRow,
  NotableWord,
  Report,
  ServerMessage,
  SessionRecord,
  TransportKind,
} from "./protocol";
import { normalise, splitWords } from "./words";

/**
 * - `start`: before a call.
 * - `connecting`: a call was asked for; no transport is up.
 * - `in-call`: connected.
 * - `reconnecting`: the transport was lost and is being replaced.
 * - `ending`: the learner hung up; the report is awaited.
 * - `report`: after a call.
 */
export type Phase = "start" | "connecting" | "in-call" | "reconnecting" | "ending" | "report";

export interface LearnerTurn {
  id: number;
  who: "learner";
  text: string;
  partial: string;
  typed: boolean;
  /** A typed turn that the server has repeated as a transcript. */
  echoed: boolean;
  corrections: CorrectionItem[];
  /** Words of a high level in it. */
  notable: NotableWord[];
}

export interface TutorTurn {
  id: number;
  who: "tutor";
  text: string;
  /** The whole text is here. */
  complete: boolean;
  /** Nothing more of it will be heard. */
  ended: boolean;
  /** Words that have been heard, counted from the start. */
  heard: number;
  /** Interrupted: `text` is then only what was heard. */
  cut: boolean;
}
export type CaptionTurn = LearnerTurn | TutorTurn;

export type BannerAction = "retry-call" | "retry-mic" | "play" | "dismiss" | "login";
export interface Banner {
  tone: "error" | "notice";
  title: string;
  body: string;
  actions: BannerAction[];
  /** Seconds until trying again makes sense. */
  retryInS?: number;
}

export type MicStatus = "unknown" | "ok" | "none";

export interface ReportState {
  status: "loading" | "ready" | "unavailable";
  data: Report | null;
  record: SessionRecord | null;
  /** Why the call ended, where it was not the learner who ended it. */
  notice: string | null;
  durationS: number | null;
}

export interface State {
  phase: Phase;
  config: ClientConfig | null;
  lesson: string;
  level: Level;
  transport: TransportKind | null;
  sessionId: string | null;
  resumeToken: string | null;
  /** Wall clock at which the call connected, in ms. */
  startedAt: number | null;
  turns: CaptionTurn[];
  nextId: number;
  suggestions: string[];
  speaking: { learner: boolean; tutor: boolean };
  /** The learner has finished and the tutor has not begun. */
  thinking: boolean;
  metrics: MetricsRow[];
  muted: boolean;
  /** The server keeps both voices of this call. */
  recording: boolean;
  mic: MicStatus;
  banner: Banner | null;
  report: ReportState | null;
}

export type Action =
  | { type: "configured"; config: ClientConfig; lesson?: string | null; level?: string | null }
  | { type: "chose"; lesson?: string; level?: Level }
  | { type: "dialled" }
  | { type: "online"; transport: TransportKind; at: number }
  | { type: "lost" }
  | { type: "failed" }
  | { type: "ending" }
  | { type: "message"; message: ServerMessage }
  | { type: "typed"; text: string }
  | { type: "muted"; muted: boolean }
  | { type: "mic"; status: MicStatus }
  | { type: "banner"; banner: Banner | null }
  | { type: "reporting"; notice: string | null; at: number }
  | { type: "reported"; data: Report | null; record: SessionRecord | null }
  | { type: "again" };

export const initialState: State = {
  phase: "start",
  config: null,
  lesson: "",
  level: "intermediate",
  transport: null,
  sessionId: null,
  resumeToken: null,
  startedAt: null,
  turns: [],
  nextId: 1,
  suggestions: [],
  speaking: { learner: false, tutor: false },
  thinking: false,
  metrics: [],
  muted: false,
  recording: false,
  mic: "unknown",
  banner: null,
  report: null,
};

/** What one call leaves behind, cleared before the next. */
const freshCall = {
  transport: null,
  sessionId: null,
  resumeToken: null,
  startedAt: null,
  turns: [],
  suggestions: [],
  speaking: { learner: false, tutor: false },
  thinking: false,
  metrics: [],
  muted: false,
  recording: false,
  report: null,
} satisfies Partial<State>;

export function reduce(state: State, action: Action): State {
  switch (action.type) {
    case "configured":
      return configure(state, action.config, action.lesson, action.level);
    case "chose":
      return { ...state, lesson: action.lesson ?? state.lesson, level: action.level ?? state.level };
    case "dialled":
      return { ...state, ...freshCall, phase: "connecting", banner: null };
    case "online":
      return { ...state, phase: "in-call", transport: action.transport, startedAt: state.startedAt ?? action.at };
    case "lost":
      return endTutorTurns({
        ...state,
        phase: "reconnecting",
        transport: null,
        speaking: { learner: false, tutor: false },
        thinking: false,
      });
    case "failed":
      return { ...state, ...freshCall, phase: "start" };
    case "ending":
      return { ...endTutorTurns(state), phase: "ending", thinking: false };
    case "message":
      return receive(state, action.message);
    case "typed":
      return addLearnerTurn({ ...state, suggestions: [], thinking: true }, { text: action.text, partial: "", typed: true });
    case "muted":
      return { ...state, muted: action.muted };
    case "mic":
      return { ...state, mic: action.status };
    case "banner":
      return { ...state, banner: action.banner };
    case "reporting":
      return {
        ...endTutorTurns(state),
        phase: "report",
        transport: null,
        speaking: { learner: false, tutor: false },
        thinking: false,
        banner: null,
        report: {
          status: "loading",
          data: null,
          record: null,
          notice: action.notice,
          durationS: state.startedAt === null ? null : (action.at - state.startedAt) / 1000,
        },
      };
    case "reported":
      if (!state.report) return state;
      return {
        ...state,
        report: {
          ...state.report,
          status: action.data ? "ready" : "unavailable",
          data: action.data,
          record: action.record,
        },
      };
    case "again":
      return { ...state, ...freshCall, phase: "start", banner: null };
  }
}

function configure(state: State, config: ClientConfig, lesson?: string | null, level?: string | null): State {
  const known = config.lessons.some((l) => l.id === lesson);
  const asked = config.levels.find((l) => l === level);
  return {
    ...state,
    config,
    lesson: known && lesson ? lesson : config.default_lesson || config.lessons[0]?.id || "",
    level: asked ?? config.default_level,
  };
}

function receive(state: State, message: ServerMessage): State {
  switch (message.type) {
    case "connected":
      return {
        ...state,
        sessionId: message.session_id,
        resumeToken: message.resume_token ?? state.resumeToken,
        level: message.level ?? state.level,
        lesson: message.lesson ?? state.lesson,
        recording: message.recording ?? state.recording,
      };
    case "recording_stopped":
      return { ...state, recording: false };
    case "transcript":
      return transcribe(state, message.text.trim(), message.is_final);
    case "ai_text":
      return tutorText(state, message.text, message.is_complete);
    case "word":
      return mendTutor(
        state,
        (t) => !t.ended,
        (t) => ({ ...t, heard: Math.max(t.heard, message.index + 1) }),
      );
    case "interrupted":
      return mendTutor(
        { ...state, thinking: false },
        (t) => !t.cut,
        (t) => ({ ...t, text: message.text, heard: splitWords(message.text).length, cut: true, complete: true, ended: true }),
      );
    case "turn_complete":
      return mendTutor(
        state,
        (t) => !t.ended,
        (t) => ({ ...t, ended: true, heard: splitWords(t.text).length }),
      );
    case "corrections":
      return correct(state, message.turn, message.items);
    case "turn_analysis":
      return praise(state, message.turn, message.notable);
    case "suggestions":
      return { ...state, suggestions: message.items };
    case "metrics":
      return {
        ...state,
        metrics: state.metrics.some((m) => m.turn === message.row.turn)
          ? state.metrics.map((m) => (m.turn === message.row.turn ? { ...m, ...message.row } : m))
          : [...state.metrics, message.row],
      };
    case "speaking":
      return {
        ...state,
        speaking: { ...state.speaking, [message.who]: message.active },
        thinking: message.active ? false : state.thinking,
      };
    case "analysis":
    case "ai_audio_start":
    case "hold":
    case "go_on":
    case "error":
    case "pong":
      return state;
  }
}

function transcribe(state: State, text: string, isFinal: boolean): State {
  const index = state.turns.findLastIndex((t) => t.who === "learner");
  const turn = state.turns[index] as LearnerTurn | undefined;
  // The words belong to the turn that is being heard, even if the tutor's answer already stands below it.
  const open = turn !== undefined && turn.partial !== "";
  if (turn?.typed && !turn.echoed && isFinal && normalise(turn.text) === normalise(text)) {
    return { ...state, turns: state.turns.with(index, { ...turn, echoed: true }) };
  }
  if (text === "") {
    // An empty final takes back words that turned out to be none.
    return open && isFinal ? { ...state, turns: state.turns.toSpliced(index, 1) } : state;
  }
  const after = isFinal ? { ...state, suggestions: [], thinking: !state.speaking.tutor } : state;
  if (!open) return addLearnerTurn(after, isFinal ? { text, partial: "" } : { text: "", partial: text });
  const changed: LearnerTurn = isFinal ? { ...turn, text, partial: "" } : { ...turn, partial: text };
  return { ...after, turns: after.turns.with(index, changed) };
}

function addLearnerTurn(state: State, turn: { text: string; partial: string; typed?: boolean }): State {
  const added: LearnerTurn = { id: state.nextId, who: "learner", typed: false, echoed: false, corrections: [], notable: [], ...turn };
  return { ...state, nextId: state.nextId + 1, turns: [...state.turns, added] };
}

function tutorText(state: State, text: string, isComplete: boolean): State {
  const index = state.turns.findLastIndex((t) => t.who === "tutor");
  const turn = state.turns[index] as TutorTurn | undefined;
  if (!turn || turn.ended || turn.complete) {
    // The full text of a reply that was cut, or is already whole, brings nothing new.
    const known = turn !== undefined && (turn.cut || normalise(turn.text) === normalise(text));
    if (isComplete && known && index === state.turns.length - 1) return state;
    if (text.trim() === "") return state;
    const added: TutorTurn = {
      id: state.nextId,
      who: "tutor",
      text,
      complete: isComplete,
      ended: false,
      heard: 0,
      cut: false,
    };
    return { ...state, nextId: state.nextId + 1, turns: [...state.turns, added] };
  }
  const changed = isComplete ? { ...turn, text: text || turn.text, complete: true } : { ...turn, text: turn.text + text };
  return { ...state, turns: state.turns.with(index, changed) };
}

function mendTutor(state: State, wanted: (t: TutorTurn) => boolean, mend: (t: TutorTurn) => TutorTurn): State {
  const index = state.turns.findLastIndex((t) => t.who === "tutor");
  const turn = state.turns[index];
  if (turn?.who !== "tutor" || !wanted(turn)) return state;
  return { ...state, turns: state.turns.with(index, mend(turn)) };
}

/** A turn that was being spoken when the line went: what had been heard stays, the rest is cut. */
function endTutorTurns(state: State): State {
  return mendTutor(
    state,
    (t) => !t.ended,
    (t) => {
      const words = splitWords(t.text);
      if (t.heard >= words.length) return { ...t, ended: true, complete: true };
      return { ...t, ended: true, complete: true, cut: true, text: words.slice(0, t.heard).join(" ") };
    },
  );
}

/**
 * Put corrections under the turn they quote. The server counts turns over both speakers and the page's count can differ
 * (an empty turn, a resumed call), so the quoted words decide and the number breaks ties.
 */
function correct(state: State, turnNumber: number, items: CorrectionItem[]): State {
  const index = placeOf(state, turnNumber, items.map((c) => c.original));
  if (index === undefined) return state;
  const turn = state.turns[index] as LearnerTurn;
  return { ...state, turns: state.turns.with(index, { ...turn, corrections: items }) };
}

function praise(state: State, turnNumber: number, notable: NotableWord[]): State {
  const index = notable.length > 0 ? placeOf(state, turnNumber, notable.map((n) => n.word)) : undefined;
  if (index === undefined) return state;
  const turn = state.turns[index] as LearnerTurn;
  return { ...state, turns: state.turns.with(index, { ...turn, notable }) };
}

function placeOf(state: State, turnNumber: number, quoted: string[]): number | undefined {
  const learners = state.turns.flatMap((t, i) => (t.who === "learner" && t.text ? [i] : []));
  const textOf = (i: number) => normalise((state.turns[i] as LearnerTurn).text);
  const quoting = learners.filter((i) => quoted.every((words) => textOf(i).includes(normalise(words))));
  const pool = quoting.length > 0 ? quoting : learners;
  return pool.includes(turnNumber) ? turnNumber : pool.at(-1);
}

/** Who has the floor, for the status line. */
export function floor(state: State): "tutor" | "learner" | "thinking" | "listening" {
  if (state.speaking.learner) return "learner";
  if (state.speaking.tutor) return "tutor";
  return state.thinking ? "thinking" : "listening";
}
