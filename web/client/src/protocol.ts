/** Messages and documents of the server, as `pipeline/messages.py` and the REST routes define them. */

export type Level = "beginner" | "intermediate" | "advanced";
export type TransportKind = "webrtc" | "websocket";

export interface CorrectionItem {
  original: string;
  correction: string;
  explanation: string;
}

/** One turn's clock, in ms on the server's monotonic clock. A stage that the turn did not pass is null or absent. */
export interface MetricsRow {
  turn: number;
  user_stop?: number | null;
  eot?: number | null;
  stt_final?: number | null;
  llm_first_token?: number | null;
  llm_first_sentence?: number | null;
  tts_first_audio?: number | null;
  sent?: number | null;
  heard?: number | null;
  onset?: number | null;
  ducked?: number | null;
  stopped?: number | null;
  verdict?: "real" | "backchannel" | "noise" | null;
  v2v_ms?: number | null;
  barge_in_ms?: number | null;
}

export interface ReportMistake extends CorrectionItem {
  turn?: number | null;
  time_s?: number | null;
}

export interface Report {
  grammar_score?: number | null;
  final_score?: number | null;
  mistakes?: ReportMistake[];
  strengths?: string[];
  suggestions?: string[];
  measures?: Record<string, unknown>;
  latency?: { v2v_p50_ms?: number | null; v2v_p90_ms?: number | null; n?: number };
  levels?: { profile?: Record<string, number>; words?: number; note?: string } | null;
  turns?: { turn: number }[];
  notes?: string[];
}

export type ServerMessage =
  | { type: "connected"; session_id: string; resume_token?: string; level?: Level; lesson?: string; resumed?: boolean; recording?: boolean; options?: Partial<Record<OptionName, number>> }
  | { type: "transcript"; text: string; is_final: boolean }
  | { type: "ai_text"; text: string; is_complete: boolean }
  | { type: "ai_audio_start"; sample_rate: number }
  | { type: "turn_complete" }
  | { type: "analysis"; data: Report }
  | { type: "error"; message: string }
  | { type: "pong" }
  | { type: "interrupted"; text: string }
  | { type: "hold" }
  | { type: "go_on" }
  | { type: "corrections"; turn: number; items: CorrectionItem[] }
  | { type: "turn_analysis"; turn: number; levels: Record<string, number>; notable: NotableWord[] }
  | { type: "suggestions"; items: string[] }
  | { type: "metrics"; row: MetricsRow }
  | { type: "speaking"; who: "learner" | "tutor"; active: boolean }
  | { type: "word"; index: number; text: string }
  | { type: "recording_stopped"; reason: string };

/** A word of CEFR level B2 or above that the learner used. */
export interface NotableWord {
  word: string;
  level: string;
}

export interface ClientFields {
  text: { text: string };
  interrupt: Record<string, never>;
  set_level: { level: Level };
  set_lesson: { lesson: string };
  set_options: Partial<Record<OptionName, number>>;
  end_conversation: Record<string, never>;
  playout: { rtp_timestamp: number } | { sample: number };
}
export type ClientType = keyof ClientFields;

export interface Lesson {
  id: string;
  title: string;
  /** The level that it is made for; it can be had at each of `levels`. */
  level?: Level | null;
  levels?: Level[];
  goal?: string;
}

export type OptionName = "temperature" | "max_tokens" | "speech_rate";

/** An option of a call. `used` false: the server's engines do not honour it, and `reason` says so. */
export interface OptionInfo {
  name: OptionName;
  min: number;
  max: number;
  default: number;
  whole: boolean;
  used: boolean;
  reason?: string;
}

export interface ClientConfig {
  lessons: Lesson[];
  levels: Level[];
  default_level: Level;
  default_lesson: string;
  ice_servers: RTCIceServer[];
  audio: { input_rate: number; output_rate: number };
  detach_after_s: number;
  resume_for_s: number;
  /** Calls are recorded unless their learner declines. */
  recording?: boolean;
  upload_max_bytes?: number;
  options?: OptionInfo[];
}

/** The part of `GET /api/sessions/{id}` that the report's transcript needs. */
export interface SessionRecord {
  turns?: {
    role: "learner" | "tutor";
    text: string;
    interrupted?: boolean;
    typed?: boolean;
    corrections?: CorrectionItem[];
  }[];
}

/** One line of `GET /api/sessions`. */
export interface HistoryItem {
  id: string;
  started_at: string;
  ended_at: string | null;
  level: Level;
  lesson: string;
  turn_count: number;
  score?: number | null;
  recorded?: boolean;
}

export interface HistoryPage {
  items: HistoryItem[];
  next: string | null;
}

export interface HistoryTurn {
  role: "learner" | "tutor";
  text: string;
  started_at: string;
  interrupted?: boolean;
  typed?: boolean;
  source?: "live" | "upload";
  corrections?: CorrectionItem[];
}

/** All of `GET /api/sessions/{id}`. */
export interface HistoryDetail extends HistoryItem {
  live: boolean;
  turns: HistoryTurn[];
  recording_started_at?: string | null;
}

/** Longest text that the server takes in one message, in characters. */
export const MAX_TEXT_CHARS = 2000;
