// Requests to the api. A deploy may hold or refuse a request for some seconds,
// and something in the way may answer in the api's place: that is Unreachable,
// and the same request with the same key is sent again. A refusal of the api
// itself is an answer.

export class Refused extends Error {
  constructor(status, problem) {
    super(`${status} ${problem?.detail ?? ""}`);
    this.status = status;
    this.problem = problem ?? {};
  }
}

export class Unreachable extends Error {
  constructor(why, after) {
    super(why);
    this.after = after; // milliseconds that the answer asked to wait, or 0
  }
}

const patience = 45_000; // longer than a gateway holds a request

// ask sends once. It resolves with the decoded answer, null for an empty one.
export async function ask(method, path, { body, key } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  let answer, text;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal: AbortSignal.timeout(patience) });
    text = await answer.text();
  } catch (error) {
    throw new Unreachable(`${method} ${path}: ${error.message}`, 0);
  }
  const value = decode(text);
  if (answer.ok && (value !== null || text === "")) return value;
  if (answer.ok || answer.status >= 500 || answer.status === 429 || answer.status === 408 || !ofTheApi(answer)) {
    throw new Unreachable(`${method} ${path}: ${answer.status}`, retryAfter(answer.headers.get("Retry-After")));
  }
  throw new Refused(answer.status, value);
}

// ofTheApi tells the api's refusals from those of the gateway, which names its
// reason, and of anything else before it.
function ofTheApi(answer) {
  return !answer.headers.has("X-Gateway-Reason") && answer.headers.get("Content-Type")?.startsWith("application/problem+json");
}

// isFinal reports whether an error says that the api will never take the document.
export const isFinal = (error) => error instanceof Refused && [400, 413, 422].includes(error.status);

// why is what a final answer says.
export const why = (error) => error.problem.detail ?? "the site does not accept it";

function decode(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// retryAfter reads seconds or a date (RFC 9110 section 10.2.3), as milliseconds.
function retryAfter(value) {
  if (!value) return 0;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}

// pause is how long to wait before attempt n + 1: from 250 ms doubling to 30 s,
// spread so that the visitors of a deploy do not come back all at once, and
// never less than the answer asked for.
export function pause(n, after = 0) {
  const usual = Math.min(30_000, 250 * 2 ** n) * (0.75 + Math.random() / 2);
  return Math.max(usual, Math.min(after, 60_000));
}

// askFor repeats ask through refusals of a deploy for at most ms.
export async function askFor(ms, method, path, options) {
  const until = Date.now() + ms;
  for (let n = 0; ; n++) {
    try {
      return await ask(method, path, options);
    } catch (error) {
      const wait = pause(n, error.after);
      if (!(error instanceof Unreachable) || !navigator.onLine || Date.now() + wait > until) throw error;
      await new Promise((resume) => setTimeout(resume, wait));
    }
  }
}
