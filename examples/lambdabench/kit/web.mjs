// What handlers of HTTP events share: routes, JSON answers and pages.

import { readFileSync } from 'node:fs';

import { Refused } from './store.mjs';

const HEAD = readFileSync(new URL('head.html', import.meta.url), 'utf8');

export { Refused };

/** The body's fields. */
export function fieldsOf(event) {
  const body = Buffer.from(event.body ?? '', event.isBase64Encoded ? 'base64' : 'utf8');
  let fields;
  try {
    fields = JSON.parse(body.toString());
  } catch (error) {
    throw new Refused(400, `the body is not JSON: ${error.message}`);
  }
  if (typeof fields !== 'object' || fields === null) {
    throw new Refused(400, 'the body is not a JSON object');
  }
  return fields;
}

/** A field that must be text. */
export function textOf(fields, name, most = 200) {
  const text = typeof fields[name] === 'string' ? fields[name].trim() : '';
  if (text.length === 0 || text.length > most) {
    throw new Refused(400, `${name} must be text of 1 to ${most} characters`);
  }
  return text;
}

/** A day that there is, from the years 1000 to 2999, as 2026-11-28. */
export function dayOf(text) {
  const time = /^[12]\d{3}-\d\d-\d\d$/.test(text) ? Date.parse(text) : NaN;
  if (Number.isNaN(time) || new Date(time).toISOString().slice(0, 10) !== text) {
    throw new Refused(400, `${text} is not a day: write 2026-11-28`);
  }
  return text;
}

/** A JSON answer. */
export function answer(statusCode, value) {
  const headers = { 'content-type': 'application/json', 'cache-control': 'no-store' };
  return { statusCode, headers, body: JSON.stringify(value) };
}

/** A page: what `file` beside `kit` holds, with the head that all have. */
export function page(title, file) {
  const body = readFileSync(new URL(`../${file}`, import.meta.url), 'utf8');
  const headers = {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'public, max-age=60',
  };
  return { statusCode: 200, headers, body: HEAD.replaceAll('TITLE', title) + body };
}

/**
 * A handler of these routes: `[method, path, function]`, where `:name` in a path stands for
 * letters, digits and `-`, and the function gets the event and those parts.
 */
export function serve(routes) {
  const compiled = routes.map(([method, path, run]) => {
    const pattern = path.replaceAll('.', '\\.').replace(/:(\w+)/g, '(?<$1>[A-Za-z0-9-]{1,64})');
    return { method, pattern: new RegExp(`^${pattern}$`), run };
  });
  return async (event) => {
    const asked = event.requestContext.http.method.replace('HEAD', 'GET');
    const fitting = compiled.filter(({ pattern }) => pattern.test(event.rawPath));
    const found = fitting.find(({ method }) => method === asked);
    if (!found) {
      const error = fitting.length > 0 ? 'not with this method' : 'no such path';
      return answer(fitting.length > 0 ? 405 : 404, { error });
    }
    try {
      return await found.run(event, found.pattern.exec(event.rawPath).groups ?? {});
    } catch (error) {
      if (error instanceof Refused) return answer(error.status, { error: error.message });
      throw error;
    }
  };
}
