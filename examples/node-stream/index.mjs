// An answer that is sent while it is made: each line leaves when it is written. As it would be
// deployed to AWS Lambda, behind a function URL with response streaming.
//
//     fractus deploy examples/node-stream
//     curl -N 'http://127.0.0.1:8080/run/node-stream?lines=5'

import { setTimeout as pause } from 'node:timers/promises';

const LINES_MAX = 20;
const PAUSE_MS = 300;

export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const asked = Number(event.queryStringParameters?.lines ?? 3);
  const lines = Math.min(Math.max(Math.trunc(asked) || 0, 1), LINES_MAX);
  const answer = awslambda.HttpResponseStream.from(stream, {
    statusCode: 200,
    headers: { 'content-type': 'text/plain; charset=utf-8', 'x-lines': String(lines) },
  });
  for (let number = 1; number <= lines; number += 1) {
    answer.write(`line ${number}\n`);
    if (number < lines) await pause(PAUSE_MS);
  }
  answer.end();
});
