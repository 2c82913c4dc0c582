// What a client asks the server, and what it hands over: our own routes, with the token of this page.

/** The server did not answer, or is too busy to: worth trying again later. */
export class Offline extends Error {}

/** The server answered that it will not; `status` says how, `message` in one sentence why, `answer` with what. */
export class Refused extends Error {
  constructor(status, answer) {
    super(answer?.error ?? `The server refused (${status}).`);
    this.status = status;
    this.answer = answer;
  }
}

const PATIENCE = 20_000; // ms for an answer
const MISSING = 283; // px: width and height of the drawing that comes instead of a picture that cannot be read
const PAUSE_FOR_TOKEN = 2_500;
const PATIENCE_FOR_TOKEN = 30_000; // ms for the page to say again who it is

let door = null; // {base, token, pictures, seconds: until there is another token}
let next = 0; // the timer that asks for it
let send = () => {}; // tells the page's script something, by name
let waiting = [];

/** Called by mount.js with each new token. */
export function connect(given, tell) {
  const changed = door?.token !== given.token;
  door = given;
  send = tell;
  clearTimeout(next);
  // Before this one ends; should the machine sleep so long, a refusal has the next one fetched.
  next = setTimeout(() => connected() && send("renew", Date.now()), 1000 * (given.seconds + 1));
  if (!changed) return;
  const served = waiting;
  waiting = [];
  for (const resolve of served) resolve();
}

/** An answer to a question. `params`: plain values; null, undefined, "" and false are left out, true is 1. */
export function get(path, params = {}, { signal, patience } = {}) {
  return ask(path, query(params), { method: "GET" }, signal, patience);
}

/** The same for something to be done: `body` becomes JSON. */
export function post(path, body, { signal, keepalive = false, patience } = {}) {
  const headers = { "Content-Type": "application/json" };
  return ask(path, "", { method: "POST", headers, keepalive, body: JSON.stringify(body) }, signal, patience);
}

/**
 * The address of a picture, good for an <img>. The content's hash keeps it in the browser's cache for good.
 * @param {"stage"|"original"|"small"|"large"|"around"} kind
 */
export function picture(kind, audit, path, hash) {
  return address(`picture/${kind}`, query({ audit, path, v: hash, token: door.pictures }));
}

/**
 * A picture, loaded and decoded: what is shown of it now is painted at once.
 * @param {"high"|"low"|"auto"} priority low for what is only needed later
 * @returns {Promise<HTMLImageElement>} rejects with Refused (its sentence says why there is none) or Offline
 */
export async function loaded(kind, audit, path, hash, priority = "auto") {
  for (let again = false; ; again = true) {
    const image = new Image();
    image.fetchPriority = priority;
    image.decoding = "async";
    image.src = picture(kind, audit, path, hash);
    const shown = await image.decode().then(() => true, () => false);
    if (shown && !isMissing(image)) return image;
    // An image does not tell what it is or why it failed; the same question does, and renews the token if that was it.
    const { problem } = await get(`picture/${kind}`, { audit, path, v: hash, probe: true });
    if (problem) throw new Refused(404, { error: problem });
    if (shown) return image;
    if (again) throw new Refused(415, { error: "This browser cannot show the picture." });
  }
}

/** Whether an image that has come is the drawing that stands for a picture without a file: no small or large one is of this size. */
export function isMissing({ naturalWidth, naturalHeight }) {
  return naturalWidth === MISSING && naturalHeight === MISSING;
}

/** The address of a figure that one of our routes draws. */
export function figure(path, params) {
  return address(path, query({ ...params, token: door.pictures }));
}

/**
 * The pictures have moved to another folder of the server's: look there from now on, in this session.
 * @returns {Promise<void>} once pictures come from there; rejects with Refused, whose sentence says that they are not there
 */
export async function moved(audit, path, folder) {
  const { token } = door;
  const answer = await post("data-root", { audit, path, folder });
  send("root", answer.root);
  await renewed(token);
}

/** A place of ours as the browser would ask for it. */
export function address(path, search = "") {
  return new URL(path + search, door.base).href;
}

async function ask(path, search, options, signal, patience) {
  for (;;) {
    const token = door.token;
    const answer = await fetched(address(path, search), { ...options, headers: { ...options.headers, "X-Gradattn-Token": token } }, signal, patience);
    if (answer.status === 403 && answer.content?.token) await renewed(token);
    else if ([429, 502, 503, 504].includes(answer.status)) throw new Offline(answer.content?.error ?? "The server is busy.");
    else if (answer.status >= 400) throw new Refused(answer.status, answer.content);
    else return answer.content;
  }
}

async function fetched(url, options, signal, patience = PATIENCE) {
  const clock = AbortSignal.timeout(patience);
  try {
    const response = await fetch(url, { ...options, signal: signal ? AbortSignal.any([clock, signal]) : clock });
    const json = response.headers.get("Content-Type")?.startsWith("application/json");
    // A proxy's own page is no answer of ours.
    if (!json && !response.ok) throw new Offline(`The server is not there (${response.status}).`);
    return { status: response.status, content: json ? await response.json() : null };
  } catch (error) {
    if (signal?.aborted) throw error;
    throw error instanceof Offline ? error : new Offline("No connection.");
  }
}

/** Wait for a token other than the one that was refused. After a restart the page's own reconnect brings it. */
function renewed(refused) {
  return new Promise((resolve, reject) => {
    const asking = setInterval(() => connected() && send("renew", Date.now()), PAUSE_FOR_TOKEN);
    const end = setTimeout(() => finish(reject, new Offline("The page has to be connected again.")), PATIENCE_FOR_TOKEN);
    const finish = (how, what) => {
      clearInterval(asking);
      clearTimeout(end);
      how(what);
    };
    if (door.token !== refused) finish(resolve);
    else waiting.push(() => finish(resolve));
  });
}

/** Whether Streamlit has its connection. Asked to rerun without, it would forget to do so once it has one again. */
export function connected() {
  return document.querySelector('[data-testid="stApp"]')?.dataset.testConnectionState === "CONNECTED";
}

function query(params) {
  const pairs = Object.entries(params).filter(([, value]) => ![null, undefined, "", false].includes(value));
  const search = new URLSearchParams(pairs.map(([name, value]) => [name, value === true ? "1" : text(value)]));
  return pairs.length ? `?${search}` : "";
}

function text(value) {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
