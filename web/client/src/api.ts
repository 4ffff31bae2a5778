/** The server's REST routes, with refusals as typed errors. */
import type { ClientConfig, Report, SessionRecord } from "./protocol";

/** The server answered and refused. `detail` is its own words, fit to show. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
    readonly retryAfterS: number | null = null,
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
  try {
    const body = (await response.json()) as { detail?: unknown; title?: unknown };
    detail = [body.detail, body.title].find((x): x is string => typeof x === "string" && x !== "") ?? "";
  } catch {
    // Not every proxy's error page is JSON; the status says enough.
  }
  const after = Number(response.headers.get("Retry-After"));
  return new Refused(response.status, detail, Number.isFinite(after) && after > 0 ? after : null);
}

async function get<T>(path: string): Promise<T> {
  let response: Response;
  try {
    response = await fetch(address(path), { headers: { Accept: "application/json" }, cache: "no-store" });
  } catch (e) {
    throw new Unreachable(String(e));
  }
  if (!response.ok) throw await refusal(response);
  return (await response.json()) as T;
}

export const getConfig = (): Promise<ClientConfig> => get("api/client-config");
export const getSession = (id: string): Promise<SessionRecord> => get(`api/sessions/${encodeURIComponent(id)}`);
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
