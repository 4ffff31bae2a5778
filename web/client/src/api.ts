/** The server's REST routes, with refusals as typed errors. */
import type { ClientConfig, HistoryDetail, HistoryPage, Report, SessionRecord } from "./protocol";

/** The server answered and refused. `detail` is its own words, fit to show. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
    readonly retryAfterS: number | null = null,
    /** The kind of problem, as docs/api.md names them: "unloaded". Empty where the status says it all. */
    readonly kind = "",
  ) {
    super(detail || `HTTP ${status}`);
  }
}

/** No answer came at all. */
export class Unreachable extends Error {}

/** An address of this server. Relative to the page, so that a proxy may serve it under a path of its own. */
export function address(path: string): string {
  return new URL(path, document.baseURI).href;
}

/** Read a refusal (RFC 9457 problem body, Retry-After header) from a response that is not ok. */
export async function refusal(response: Response): Promise<Refused> {
  let detail = "";
  let kind = "";
  try {
    const body = (await response.json()) as { detail?: unknown; title?: unknown; type?: unknown };
    kind = typeof body.type === "string" ? (/^urn:parley:problem:(.+)$/.exec(body.type)?.[1] ?? "") : "";
    detail = [body.detail, body.title].find((x): x is string => typeof x === "string" && x !== "") ?? "";
  } catch {
    // Not every proxy's error page is JSON; the status says enough.
  }
  const after = Number(response.headers.get("Retry-After"));
  return new Refused(response.status, detail, Number.isFinite(after) && after > 0 ? after : null, kind);
}

async function ask(path: string, options: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(address(path), { headers: { Accept: "application/json" }, cache: "no-store", ...options });
  } catch (e) {
    throw new Unreachable(String(e));
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function get<T>(path: string): Promise<T> {
  return (await (await ask(path)).json()) as T;
}

export const getConfig = (): Promise<ClientConfig> => get("api/client-config");
export const getSession = (id: string): Promise<SessionRecord> => get(`api/sessions/${encodeURIComponent(id)}`);
const pathOf = (id: string) => `api/sessions/${encodeURIComponent(id)}`;
/** Earlier sessions, newest first; with `q`, those in which all of its words were said. */
export const getHistory = (q: string, cursor: string | null): Promise<HistoryPage> => {
  const query = new URLSearchParams({ limit: "30" });
  if (q.trim()) query.set("q", q.trim());
  if (cursor) query.set("cursor", cursor);
  return get(`api/sessions?${query}`);
};
export const getDetail = (id: string): Promise<HistoryDetail> => get(pathOf(id));
export const deleteSession = async (id: string): Promise<void> => void (await ask(pathOf(id), { method: "DELETE" }));
export const audioAddress = (id: string): string => address(`${pathOf(id)}/audio`);
export const exportAddress = (id: string, format: "json" | "markdown" | "audio" | "zip"): string =>
  address(`${pathOf(id)}/export?format=${format}`);
/** Send an audio file as a turn of a running call. */
export const sendAudio = async (id: string, file: Blob): Promise<void> =>
  void (await ask(`${pathOf(id)}/audio`, {
    method: "POST",
    body: file,
    headers: { Accept: "application/json", "Content-Type": file.type || "application/octet-stream" },
  }));
/** The plots of an ended session's report: SVG by name, in the order in which they are shown. */
export const getPlots = (id: string): Promise<Record<string, string>> => get(`${pathOf(id)}/report/plots`);
export const reportPageAddress = (id: string): string => address(`${pathOf(id)}/report?format=html`);
export const getReady = (): Promise<unknown> => get("ready");

/**
 * The report of a session that has ended, or null where it has none (nobody spoke). A session that was just lost may take a
 * moment to end, so "still running" is asked again, up to `attempts` times.
 */
export async function getReport(id: string, attempts = 10): Promise<Report | null> {
  for (let left = attempts; ; left--) {
    try {
      return await get<Report>(`api/sessions/${encodeURIComponent(id)}/report`);
    } catch (e) {
      if (e instanceof Refused && e.status === 404) return null;
      const passing = e instanceof Unreachable || (e instanceof Refused && (e.status === 409 || e.status >= 500));
      if (left <= 1 || !passing) throw e;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}
