import { describe, expect, it } from "vitest";
import type { ClientConfig, ServerMessage } from "../src/protocol";
import { floor, initialState, reduce, type Action, type LearnerTurn, type State, type TutorTurn } from "../src/state";

const config: ClientConfig = {
  lessons: [
    { id: "cafe", title: "Café" },
    { id: "job", title: "Job" },
  ],
  levels: ["beginner", "intermediate", "advanced"],
  default_level: "beginner",
  default_lesson: "cafe",
  ice_servers: [],
  audio: { input_rate: 16_000, output_rate: 24_000 },
  detach_after_s: 5,
  resume_for_s: 30,
};

const run = (state: State, ...actions: Action[]) => actions.reduce(reduce, state);
const messages = (state: State, ...list: ServerMessage[]) =>
  run(state, ...list.map((message): Action => ({ type: "message", message })));
const inCall = run(
  initialState,
  { type: "configured", config },
  { type: "dialled" },
  { type: "online", transport: "webrtc", at: 1000 },
);
const partial = (text: string): ServerMessage => ({ type: "transcript", text, is_final: false });
const final = (text: string): ServerMessage => ({ type: "transcript", text, is_final: true });
const delta = (text: string): ServerMessage => ({ type: "ai_text", text, is_complete: false });
const whole = (text: string): ServerMessage => ({ type: "ai_text", text, is_complete: true });
const word = (index: number): ServerMessage => ({ type: "word", index, text: "" });
const done: ServerMessage = { type: "turn_complete" };
const learner = (s: State, i: number) => s.turns[i] as LearnerTurn;
const tutor = (s: State, i: number) => s.turns[i] as TutorTurn;

describe("settings", () => {
  it("takes remembered choices only where the server knows them", () => {
    expect(run(initialState, { type: "configured", config, lesson: "job", level: "advanced" })).toMatchObject({
      lesson: "job",
      level: "advanced",
    });
    expect(run(initialState, { type: "configured", config, lesson: "gone", level: "expert" })).toMatchObject({
      lesson: "cafe",
      level: "beginner",
    });
  });
});

describe("the learner's captions", () => {
  it("replaces partials and ends with the final", () => {
    const s = messages(inCall, partial("I"), partial("I go"), final("I goed home"));
    expect(s.turns).toHaveLength(1);
    expect(learner(s, 0)).toMatchObject({ text: "I goed home", partial: "" });
    expect(floor(s)).toBe("thinking");
  });
  it("takes back words that turned out to be none", () => {
    expect(messages(inCall, partial("mm"), final("")).turns).toEqual([]);
    expect(messages(inCall, final("")).turns).toEqual([]);
  });
  it("begins a new turn after a final", () => {
    const s = messages(inCall, final("Hello"), partial("how"), final("how are you"));
    expect(s.turns.map((t) => t.text)).toEqual(["Hello", "how are you"]);
  });
  it("ends the learner's words above an answer that is already there", () => {
    const s = messages(inCall, partial("I want"), delta("Of"), final("I want tea"), delta(" course"));
    expect(s.turns.map((t) => t.text)).toEqual(["I want tea", "Of course"]);
  });
  it("shows a typed turn once, though the server repeats it", () => {
    const typed = run(inCall, { type: "typed", text: "Hello, there" });
    const s = messages(typed, final("hello there"), final("hello there"));
    expect(s.turns).toHaveLength(2);
    expect(learner(s, 0)).toMatchObject({ typed: true, echoed: true, text: "Hello, there" });
  });
});

describe("the tutor's captions", () => {
  it("grows by deltas and lights words as they are heard", () => {
    let s = messages(inCall, delta("Good "), delta("morning to"), word(0));
    expect(tutor(s, 0)).toMatchObject({ text: "Good morning to", heard: 1, ended: false });
    s = messages(s, whole("Good morning to you"), word(2), word(1));
    expect(tutor(s, 0)).toMatchObject({ text: "Good morning to you", heard: 3, complete: true });
    s = messages(s, done);
    expect(tutor(s, 0)).toMatchObject({ heard: 4, ended: true, cut: false });
  });
  it("cuts an interrupted reply to what was heard, in either order of messages", () => {
    const cut: ServerMessage = { type: "interrupted", text: "Good morning" };
    for (const order of [
      [cut, done],
      [done, cut],
    ] as ServerMessage[][]) {
      const s = messages(inCall, whole("Good morning to you"), word(1), partial("wait"), ...order);
      expect(tutor(s, 0)).toMatchObject({ text: "Good morning", heard: 2, cut: true, ended: true });
      expect(s.turns).toHaveLength(2);
    }
  });
  it("does not bring a cut reply back when its full text comes late", () => {
    const s = messages(inCall, delta("Good morning to"), { type: "interrupted", text: "Good" }, whole("Good morning to you"));
    expect(s.turns).toHaveLength(1);
    expect(tutor(s, 0).text).toBe("Good");
  });
  it("starts a new turn for a reply that follows another one", () => {
    const s = messages(inCall, whole("Hello."), done, whole("Are you there?"));
    expect(s.turns.map((t) => t.text)).toEqual(["Hello.", "Are you there?"]);
  });
  it("keeps what was heard when the line is lost", () => {
    const s = run(messages(inCall, whole("Good morning to you"), word(0)), { type: "lost" });
    expect(s.phase).toBe("reconnecting");
    expect(tutor(s, 0)).toMatchObject({ text: "Good", cut: true });
    const back = run(s, { type: "online", transport: "websocket", at: 9000 });
    expect(back).toMatchObject({ phase: "in-call", transport: "websocket", startedAt: 1000 });
    expect(back.turns).toHaveLength(1);
  });
});

describe("what is said of a turn's words", () => {
  it("stands under the turn that has them", () => {
    const s = messages(inCall, whole("Hi"), done, final("I am reluctant"), whole("Nice"), done, final("and tired"));
    const c = messages(s, { type: "turn_analysis", turn: 1, levels: { B2: 1 }, notable: [{ word: "reluctant", level: "B2" }] });
    expect(learner(c, 1).notable).toEqual([{ word: "reluctant", level: "B2" }]);
    expect(learner(c, 3).notable).toEqual([]);
    expect(messages(s, { type: "turn_analysis", turn: 3, levels: { A1: 4 }, notable: [] })).toEqual(s);
  });
});

describe("corrections", () => {
  const items = (original: string) => [{ original, correction: "x", explanation: "" }];
  const s = messages(inCall, whole("Hi"), done, final("I goed home"), whole("Nice"), done, final("and I eated"));
  it("stand under the turn that they quote, whatever its number", () => {
    for (const turn of [1, 3, 99]) {
      const c = messages(s, { type: "corrections", turn, items: items("I goed") });
      expect(learner(c, 1).corrections).toHaveLength(1);
      expect(learner(c, 3).corrections).toHaveLength(0);
    }
  });
  it("go by number, then to the latest, where nothing is quoted", () => {
    expect(learner(messages(s, { type: "corrections", turn: 1, items: items("zzz") }), 1).corrections).toHaveLength(1);
    expect(learner(messages(s, { type: "corrections", turn: 42, items: items("zzz") }), 3).corrections).toHaveLength(1);
  });
  it("are dropped where the learner has said nothing", () => {
    expect(messages(inCall, { type: "corrections", turn: 0, items: items("a") })).toEqual(inCall);
  });
});

describe("who has the floor", () => {
  it("follows the voices, the learner first", () => {
    const speaking = (who: "learner" | "tutor", active: boolean): ServerMessage => ({ type: "speaking", who, active });
    let s = messages(inCall, speaking("tutor", true));
    expect(floor(s)).toBe("tutor");
    s = messages(s, speaking("learner", true));
    expect(floor(s)).toBe("learner");
    s = messages(s, speaking("tutor", false), speaking("learner", false));
    expect(floor(s)).toBe("listening");
  });
});

describe("metrics", () => {
  it("keeps one row per turn and takes what comes later", () => {
    const s = messages(
      inCall,
      { type: "metrics", row: { turn: 1, sent: 5 } },
      { type: "metrics", row: { turn: 1, sent: 5, heard: 9 } },
    );
    expect(s.metrics).toEqual([{ turn: 1, sent: 5, heard: 9 }]);
  });
});

describe("a call's end", () => {
  it("keeps the captions for the report and clears them for the next call", () => {
    let s = messages(inCall, final("Hello"), { type: "suggestions", items: ["Bye"] });
    s = run(s, { type: "ending" }, { type: "reporting", notice: null, at: 61_000 });
    expect(s).toMatchObject({ phase: "report", transport: null, report: { status: "loading", durationS: 60 } });
    expect(s.turns).toHaveLength(1);
    s = run(s, { type: "reported", data: { final_score: null, notes: ["not enough speech"] }, record: null });
    expect(s.report?.status).toBe("ready");
    s = run(s, { type: "dialled" });
    expect(s).toMatchObject({ phase: "connecting", turns: [], suggestions: [], metrics: [], report: null, startedAt: null });
  });
  it("says so where there is no report", () => {
    const s = run(inCall, { type: "reporting", notice: "x", at: 2000 }, { type: "reported", data: null, record: null });
    expect(s.report).toMatchObject({ status: "unavailable", notice: "x" });
  });
});
