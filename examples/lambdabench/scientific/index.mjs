// Computes the Mandelbrot set in bands of rows, which a client asks for in parallel. Each row is
// sent as soon as it is done, as a line of JSON: the steps after which each point has left.
//
//     fractus deploy examples/lambdabench/scientific
//     curl -N 'http://127.0.0.1:8080/run/scientific/rows?width=64&height=48&from=0&to=48&steps=100'

import { once } from 'node:events';
import { setImmediate as breathe } from 'node:timers/promises';

import { page } from './kit/web.mjs';

const SIZE_MAX = 4096;
const STEPS_MAX = 10_000;
const WORK_MAX = 2 ** 31;
// The part of the plane that the picture shows.
const LEFT = -2.25;
const TOP = -1.25;
const ACROSS = 3;
const DOWN = 2.5;

/** How many steps a point takes to leave, or `most` if it does not. */
function stepsOf(x, y, most) {
  let [a, b, steps] = [0, 0, 0];
  while (steps < most && a * a + b * b <= 4) {
    const next = a * a - b * b + x;
    b = 2 * a * b + y;
    a = next;
    steps += 1;
  }
  return steps;
}

function rowOf(row, { width, height, steps }) {
  const y = TOP + (DOWN * row) / height;
  return Array.from({ length: width }, (_, at) => stepsOf(LEFT + (ACROSS * at) / width, y, steps));
}

/** What is asked for, or why it is not: whole numbers within their bounds. */
function askedFor(query) {
  const asked = { width: 0, height: 0, from: 0, to: 0, steps: 0 };
  for (const name of Object.keys(asked)) {
    asked[name] = /^\d{1,5}$/.test(query[name] ?? '') ? Number(query[name]) : NaN;
  }
  const { width, height, from, to, steps } = asked;
  const isRight = width > 0 && width <= SIZE_MAX && height > 0 && height <= SIZE_MAX
    && from < to && to <= height && steps > 0 && steps <= STEPS_MAX
    && width * (to - from) * steps <= WORK_MAX;
  return isRight ? asked : undefined;
}

export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const begin = (statusCode, headers) =>
    awslambda.HttpResponseStream.from(stream, { statusCode, headers });
  const refuse = (statusCode, error) =>
    begin(statusCode, { 'content-type': 'application/json' }).end(JSON.stringify({ error }));
  if (event.rawPath === '/') {
    const { statusCode, headers, body } = page('Mandelbrot', 'index.html');
    begin(statusCode, headers).end(body);
    return;
  }
  if (event.rawPath !== '/rows') {
    refuse(404, 'no such path');
    return;
  }
  const asked = askedFor(event.queryStringParameters ?? {});
  if (!asked) {
    refuse(400, `give width and height up to ${SIZE_MAX}, from < to <= height, steps up to `
      + `${STEPS_MAX}, and not too much of all`);
    return;
  }
  const headers = { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' };
  const answer = begin(200, headers);
  for (let row = asked.from; row < asked.to; row += 1) {
    const line = `${JSON.stringify({ row, steps: rowOf(row, asked) })}\n`;
    // What is written leaves while nothing is computed.
    if (answer.write(line)) await breathe();
    else await once(answer, 'drain');
  }
  answer.end();
});
