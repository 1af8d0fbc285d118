// A bucket's objects, as JSON, at `http://store.internal/`: through the proxy of the sandbox, which
// Node's own `fetch` does not know of.
//
// No change of anyone's is lost: what is new is written with `If-None-Match: *`, and what is
// changed with `If-Match` and the tag that was read.

import http from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';

const STORE = 'http://store.internal';
// How long a change that others are quicker than is tried again.
const PATIENCE_MS = 10_000;
const PAUSE_MAX_MS = 100;

/** An answer that is an error, with its status. */
export class Refused extends Error {
  constructor(status, why) {
    super(why);
    this.status = status;
  }
}

function ask(method, path, headers, body) {
  const proxy = new URL(process.env.HTTP_PROXY);
  return new Promise((resolve, reject) => {
    const request = http.request({
      method,
      host: proxy.hostname,
      port: proxy.port,
      path: `${STORE}/${path}`,
      headers: { host: 'store.internal', ...headers },
      // A connection each: one that is kept may be closed while the instance waits.
      agent: false,
      timeout: 10_000,
    }, async (answer) => {
      try {
        const chunks = await answer.toArray();
        resolve({
          status: answer.statusCode,
          tag: answer.headers.etag,
          text: Buffer.concat(chunks).toString(),
        });
      } catch (error) {
        reject(error);
      }
    });
    request.on('timeout', () => request.destroy(new Error('the store does not answer')));
    request.on('error', reject);
    request.end(body);
  });
}

/** The object's value and its tag; neither if there is none. */
export async function get(path) {
  const { status, tag, text } = await ask('GET', path, {});
  if (status === 404) return {};
  if (status !== 200) throw new Error(`GET ${path}: ${status} ${text.trim()}`);
  return { value: JSON.parse(text), tag };
}

/** Makes the object, or with a tag replaces the one that has it; false if it cannot. */
export async function put(path, value, tag) {
  const condition = tag ? { 'if-match': tag } : { 'if-none-match': '*' };
  const headers = { 'content-type': 'application/json', ...condition };
  const { status, text } = await ask('PUT', path, headers, JSON.stringify(value));
  if (status === 412) return false;
  if (status >= 300) throw new Error(`PUT ${path}: ${status} ${text.trim()}`);
  return true;
}

/**
 * Replaces the object by what `change` makes of its value (undefined if there is none). It is
 * called again whenever somebody else was quicker; undefined from it changes nothing.
 */
export async function update(path, change) {
  const until = Date.now() + PATIENCE_MS;
  for (let longest = 2; Date.now() < until; longest = Math.min(2 * longest, PAUSE_MAX_MS)) {
    const { value, tag } = await get(path);
    const changed = change(value);
    if (changed === undefined || await put(path, changed, tag)) return;
    await pause(Math.random() * longest);
  }
  throw new Refused(503, `${path} is changed by too many at once: try again`);
}
