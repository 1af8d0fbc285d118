// Runs Node functions inside a sandbox and speaks the frame protocol with the node.
//
// Descriptor 3 is the stream socket of frames. It may be started before its function is known:
// the frame that begins says what to load. Node 18 and later, nothing but its own modules.

import fs from 'node:fs';
import module, { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';
import { Writable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import util from 'node:util';

// Bounds. The node checks sizes that matter to it; these keep a confused peer from filling memory.
const FRAME_MAX = 256 << 20;
const CHUNK_MAX = 1 << 20;
const MESSAGE_MAX = 256 << 10;
const STACK_LINES_MAX = 200;
// The node sends one request at a time; the next may cross with the answer.
const QUEUE_MAX = 16;

const HEAD_SIZE = 5;
const [BEGIN, INVOKE] = Buffer.from('BI');
const [READY, FAILED, ANSWER, DATA, END, START, ERROR] = Buffer.from('RFADESX');

// How the process ends after what it could not catch, as on Lambda.
const EXIT_REJECTION = 128;
const EXIT_EXCEPTION = 129;

// ------------------------------------------------------------------------------------------------
// Errors

class RuntimeError extends Error {
  constructor(kind, message) {
    super(message);
    this.name = `Runtime.${kind}`;
  }
}

/** Text of a bounded length, without halves of surrogate pairs, which are no text for the node. */
const cleanText = (text) => Buffer.from(String(text).slice(0, MESSAGE_MAX)).toString();

function looksLikeError(value) {
  return util.types.isNativeError(value) || (value && typeof value.name === 'string'
    && typeof value.message === 'string' && typeof value.stack === 'string');
}

/** Whatever was thrown, in Lambda's shape. */
function shapeOf(error) {
  try {
    if (looksLikeError(error)) {
      return {
        errorType: cleanText(error.name),
        errorMessage: cleanText(error.message),
        stackTrace: cleanText(error.stack).split('\n').slice(0, STACK_LINES_MAX),
      };
    }
    return { errorType: typeof error, errorMessage: cleanText(error), stackTrace: [] };
  } catch {
    return {
      errorType: 'handled',
      errorMessage: 'the error could not be read: its name, message or stack throws',
      stackTrace: [],
    };
  }
}

// ------------------------------------------------------------------------------------------------
// Logs

const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];
let requestId;
let jsonLogs = false;

function errorFields(value) {
  return {
    errorType: value?.constructor?.name ?? 'UnknownError',
    errorMessage: value.message,
    stackTrace: typeof value.stack === 'string' ? value.stack.split('\n') : [],
    ...value,
  };
}

function jsonLine(level, parts) {
  const line = { timestamp: new Date().toISOString(), level, requestId };
  if (parts.length === 1) {
    line.message = parts[0];
    try {
      return JSON.stringify(line, (_key, value) => (
        value instanceof Error ? errorFields(value) : value));
    } catch {
      line.message = util.format(parts[0]);
      return JSON.stringify(line);
    }
  }
  line.message = util.format(...parts);
  const error = parts.find((part) => part instanceof Error);
  if (error) {
    const { errorType, errorMessage, stackTrace } = errorFields(error);
    Object.assign(line, { errorType, errorMessage, stackTrace });
  }
  return JSON.stringify(line);
}

function print(level, parts) {
  const line = jsonLogs
    ? jsonLine(level, parts)
    : `${new Date().toISOString()}\t${requestId}\t${level}\t${util.format(...parts)}`;
  process.stdout.write(`${line}\n`);
}

function patchConsole() {
  jsonLogs = (process.env.AWS_LAMBDA_LOG_FORMAT ?? '').toUpperCase() === 'JSON';
  const wanted = LEVELS.indexOf((process.env.AWS_LAMBDA_LOG_LEVEL ?? '').toUpperCase());
  LEVELS.forEach((level, index) => {
    const silent = index < wanted && level !== 'FATAL';
    console[level.toLowerCase()] = silent ? () => {} : (...parts) => print(level, parts);
  });
  console.log = console.info;
}

function printError(title, error) {
  const value = error instanceof Error ? error : new Error(error);
  if (jsonLogs) {
    console.error(value);
    return;
  }
  let text;
  try {
    text = JSON.stringify({
      errorType: value.name,
      errorMessage: value.message,
      code: value.code,
      ...value,
      stack: typeof value.stack === 'string' ? value.stack.split('\n') : undefined,
    });
  } catch {
    text = JSON.stringify(shapeOf(value));
  }
  console.error(title, `\t${text}`);
}

// What is printed must be in the pipes before the final frame: both streams write at once, and
// wait if the pipe is full.
for (const stream of [process.stdout, process.stderr]) {
  stream._handle?.setBlocking?.(true);
  stream.on('error', () => {});
}

// ------------------------------------------------------------------------------------------------
// Frames

const socket = new net.Socket({ fd: 3, readable: true, writable: true });

function frame(kind, payload) {
  const text = typeof payload === 'string';
  const size = text ? Buffer.byteLength(payload) : payload.length;
  const out = Buffer.allocUnsafe(HEAD_SIZE + size);
  out[0] = kind;
  out.writeUInt32LE(size, 1);
  if (text) out.utf8Write(payload, HEAD_SIZE, size);
  else out.set(payload, HEAD_SIZE);
  return out;
}

const jsonFrame = (kind, value) => frame(kind, JSON.stringify(value));

const END_FRAME = frame(END, '');

// Bytes that have arrived and belong to no whole frame yet.
let pieces = [];
let have = 0;

function take(size) {
  const all = pieces.length === 1 ? pieces[0] : Buffer.concat(pieces, have);
  have -= size;
  pieces = have > 0 ? [all.subarray(size)] : [];
  return all.subarray(0, size);
}

function frameSize() {
  if (have < HEAD_SIZE) return Infinity;
  if (pieces[0].length < HEAD_SIZE) pieces = [Buffer.concat(pieces, have)];
  const size = HEAD_SIZE + pieces[0].readUInt32LE(1);
  if (size > FRAME_MAX) process.exit(1);
  return size;
}

socket.on('data', (data) => {
  pieces.push(data);
  have += data.length;
  for (let size = frameSize(); have >= size; size = frameSize()) {
    const whole = take(size);
    onFrame(whole[0], whole.subarray(HEAD_SIZE));
  }
});
socket.on('error', () => process.exit(0));
socket.on('end', () => process.exit(0));
socket.on('close', () => process.exit(0));

// ------------------------------------------------------------------------------------------------
// The answer as a stream

const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');
const HTTP_CONTENT_TYPE = 'application/vnd.awslambda.http-integration-response';

class ResponseStream extends Writable {
  constructor(highWaterMark) {
    super({ highWaterMark: highWaterMark ?? 64 << 10, decodeStrings: true });
    this.contentType = 'application/octet-stream';
    this.prelude = null;
    this.begun = false;
    this.pending = [];
    this.waiting = [];
    this.scheduled = false;
    this.onEnded = () => {};
  }

  setContentType(contentType) {
    if (this.begun) {
      throw new RuntimeError('InvalidStreamingOperation', 'Cannot set content-type, too late.');
    }
    this.contentType = contentType;
  }

  write(chunk, encoding, callback) {
    // Objects are written as JSON, as on Lambda.
    const plain = typeof chunk === 'string' || chunk instanceof Uint8Array;
    return super.write(plain ? chunk : JSON.stringify(chunk), encoding, callback);
  }

  _begin() {
    if (this.begun) return;
    this.begun = true;
    this.pending.push(jsonFrame(START, { content_type: this.contentType, prelude: this.prelude }));
  }

  _write(chunk, _encoding, callback) {
    this._begin();
    for (let at = 0; at < chunk.length; at += CHUNK_MAX) {
      this.pending.push(frame(DATA, chunk.subarray(at, at + CHUNK_MAX)));
    }
    this.waiting.push(callback);
    if (!this.scheduled) {
      this.scheduled = true;
      setImmediate(() => this.flush());
    }
    // The next piece may come before the flush, and leave with it.
    if (this.waiting.length === 1) this._release();
  }

  _release() {
    const callback = this.waiting.shift();
    if (socket.writableLength < CHUNK_MAX) callback();
    else socket.once('drain', callback);
  }

  _final(callback) {
    this._begin();
    callback();
    this.onEnded();
  }

  /** Sends what is held back, and `last` with it. */
  flush(last) {
    this.scheduled = false;
    if (last) this.pending.push(last);
    if (this.pending.length === 0) return;
    const out = this.pending.length === 1 ? this.pending[0] : Buffer.concat(this.pending);
    this.pending = [];
    socket.write(out);
  }
}

const awslambda = {
  streamifyResponse(handler, options) {
    handler[STREAMING] = 'response';
    if (typeof options?.highWaterMark === 'number') handler[WATER_MARK] = options.highWaterMark;
    return handler;
  },
  HttpResponseStream: class HttpResponseStream {
    static from(stream, prelude) {
      stream.setContentType(HTTP_CONTENT_TYPE);
      stream.prelude = prelude ?? {};
      return stream;
    }
  },
};

// ------------------------------------------------------------------------------------------------
// Finding the handler

const AUTOMATIC = ['index', 'app', 'lambda_function'];
const ENDINGS = ['.mjs', '.js', '.cjs'];

/** Whether the nearest package.json says that `.js` files are ES modules. */
function isModuleFolder(folder) {
  for (let at = folder; !at.endsWith('/node_modules'); at = path.dirname(at)) {
    const file = path.join(at, 'package.json');
    if (fs.existsSync(file)) {
      try {
        return JSON.parse(fs.readFileSync(file, 'utf8')).type === 'module';
      } catch {
        return false;
      }
    }
    if (at === path.dirname(at)) break;
  }
  return false;
}

function loadFile(file, require) {
  const isModule = file.endsWith('.mjs')
    || (file.endsWith('.js') && isModuleFolder(path.dirname(file)));
  return isModule ? import(pathToFileURL(file).href) : require(file);
}

async function loadModule(root, folder, name, require) {
  const base = path.resolve(root, folder, name);
  if (fs.existsSync(base) && fs.statSync(base).isFile()) return loadFile(base, require);
  for (const ending of ['.js', '.mjs', '.cjs']) {
    if (fs.existsSync(base + ending)) return loadFile(base + ending, require);
  }
  return require(require.resolve(name, { paths: [root, path.join(root, folder)] }));
}

/** Errors of loading, with Lambda's names. */
async function loading(work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof SyntaxError) {
      throw Object.assign(new RuntimeError('UserCodeSyntaxError', String(error)),
        { stack: error.stack });
    }
    if (error?.code === 'MODULE_NOT_FOUND' || error?.code === 'ERR_MODULE_NOT_FOUND') {
      throw Object.assign(new RuntimeError('ImportModuleError', String(error)),
        { stack: error.stack });
    }
    throw error;
  }
}

async function namedHandler(root, handler, require) {
  if (handler.includes('..')) {
    throw new RuntimeError('MalformedHandlerName', `'${handler}' is not a valid handler name. `
      + 'Use absolute paths when specifying root directories in handler names.');
  }
  const file = path.basename(handler);
  const folder = handler.slice(0, handler.length - file.length);
  const parts = /^([^.]*)\.(.+)$/.exec(file);
  if (!parts) throw new RuntimeError('MalformedHandlerName', 'Bad handler');
  const loaded = await loading(() => loadModule(root, folder, parts[1], require));
  const resolve = (from) => parts[2].split('.').reduce((value, key) => value?.[key], from);
  const found = resolve(loaded) ?? resolve(loaded?.default);
  if (!found) {
    throw new RuntimeError('HandlerNotFound', `${handler} is undefined or not exported`);
  }
  if (typeof found !== 'function') {
    throw new RuntimeError('HandlerNotFound', `${handler} is not a function`);
  }
  return found;
}

async function foundHandler(root, require) {
  const looked = [];
  for (const name of AUTOMATIC) {
    for (const ending of ENDINGS) {
      const file = path.join(root, name + ending);
      looked.push(name + ending);
      if (!fs.existsSync(file)) continue;
      const loaded = await loading(() => loadFile(file, require));
      const choices = [loaded?.handler, loaded?.default?.handler, loaded?.default, loaded];
      const found = choices.find((value) => typeof value === 'function');
      if (found) return found;
    }
  }
  throw new RuntimeError('HandlerNotFound', 'no handler was named, and none found; looked for '
    + `an export \`handler\` or a default export in ${looked.join(', ')}`);
}

let setup;
let handler;

async function begin(wanted) {
  setup = wanted;
  const root = setup.root ?? '/var/task';
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, {
    AWS_LAMBDA_FUNCTION_NAME: setup.name ?? '',
    AWS_LAMBDA_FUNCTION_VERSION: setup.version ?? '$LATEST',
    AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(setup.memory_mb ?? ''),
    AWS_LAMBDA_LOG_GROUP_NAME: setup.log_group ?? '',
    AWS_LAMBDA_LOG_STREAM_NAME: setup.log_stream ?? '',
    LAMBDA_TASK_ROOT: root,
    _HANDLER: setup.handler ?? '',
  }, setup.env);
  if (setup.paths?.length) {
    const paths = [...setup.paths, process.env.NODE_PATH].filter(Boolean);
    process.env.NODE_PATH = paths.join(':');
  }
  // Read once when the process starts, unless asked again.
  if (process.env.NODE_PATH) module.Module._initPaths?.();
  process.argv = [process.argv[0], 'bootstrap'];
  process.chdir(root);
  patchConsole();
  globalThis.awslambda = awslambda;
  if (setup.kind === 'wsgi' || setup.kind === 'asgi') {
    throw new RuntimeError('HandlerNotFound', `a function in JavaScript is no ${setup.kind}`);
  }
  const require = createRequire(path.join(root, 'index.js'));
  handler = setup.handler
    ? await namedHandler(root, setup.handler, require)
    : await foundHandler(root, require);
  const streaming = handler[STREAMING];
  if (streaming && streaming !== 'response') {
    throw new RuntimeError('MalformedStreamingHandler', 'Only response streaming is supported.');
  }
}

// ------------------------------------------------------------------------------------------------
// Invocations

// The invocation under way: how it fails, and what happens when nothing is left to wait for.
let current = null;
let ready = false;
const queue = [];

const isPromise = (value) => typeof value?.then === 'function';

class Context {
  constructor(head, invocation) {
    this.functionVersion = setup.version ?? '$LATEST';
    this.functionName = setup.name ?? '';
    this.memoryLimitInMB = String(setup.memory_mb ?? '');
    this.logGroupName = setup.log_group ?? '';
    this.logStreamName = setup.log_stream ?? '';
    this.clientContext = head.client_context ?? undefined;
    this.identity = undefined;
    this.invokedFunctionArn = head.arn;
    this.awsRequestId = head.id;
    this.callbackWaitsForEmptyEventLoop = true;
    const deadline = head.deadline_ms;
    this.getRemainingTimeInMillis = () => deadline - Date.now();
    if (!invocation.stream) {
      this.succeed = (result) => invocation.once(() => invocation.succeed(result));
      this.fail = (error) => invocation.once(() => invocation.fail(error ?? 'handled'));
      this.done = (error, result) => (
        error === undefined || error === null ? this.succeed(result) : this.fail(error));
    }
  }
}

class Invocation {
  constructor(head) {
    this.finished = false;
    this.answered = false;
    this.settled = false;
    this.ended = false;
    this.whenEmpty = null;
    this.stream = null;
    if (handler[STREAMING]) {
      this.stream = new ResponseStream(handler[WATER_MARK]);
      this.stream.onEnded = () => {
        this.ended = true;
        this.finishStream();
      };
      this.stream.on('error', (error) => this.fail(error));
    }
    this.context = new Context(head, this);
  }

  /** Sends the final frame, once. The socket keeps the process alive again from here on. */
  finish(out) {
    if (this.finished) return;
    this.finished = true;
    current = null;
    if (this.stream?.begun) this.stream.flush(out);
    else socket.write(out);
    idle();
  }

  succeed(result) {
    if (this.finished) return;
    let text;
    try {
      text = JSON.stringify(result === undefined ? null : result) ?? 'null';
    } catch {
      this.fail(new Error('Unable to stringify response body'));
      return;
    }
    this.finish(frame(ANSWER, text));
  }

  fail(error) {
    if (this.finished) return;
    printError('Invoke Error', error);
    this.finish(jsonFrame(ERROR, shapeOf(error)));
  }

  /** Of all the ways to answer only the first that is taken counts. */
  once(answer) {
    if (this.answered) return;
    this.answered = true;
    answer();
  }

  callback(error, result) {
    if (error !== undefined && error !== null) this.fail(error);
    else if (!this.context.callbackWaitsForEmptyEventLoop) this.succeed(result);
    else this.whenEmpty = () => this.succeed(result);
  }

  finishStream() {
    if (!this.settled || !this.ended) return;
    this.finish(END_FRAME);
  }

  /** Nothing is left in the event loop, and no answer was given. */
  empty() {
    if (this.whenEmpty) this.whenEmpty();
    else if (!this.stream) this.succeed(null);
    else this.fail(new Error('Response stream is not finished.'));
  }

  run(body) {
    const { context, stream } = this;
    try {
      const event = JSON.parse(body.toString());
      const result = stream
        ? handler(event, stream, context)
        : handler(event, context, (error, value) => (
          this.once(() => this.callback(error, value))));
      if (stream) this.runStream(result);
      else if (isPromise(result)) result.then(context.succeed, context.fail);
    } catch (error) {
      this.once(() => this.fail(error ?? 'handled'));
    }
  }

  runStream(result) {
    if (!isPromise(result)) {
      this.fail('Streaming does not support non-async handlers.');
      return;
    }
    result.then((value) => {
      if (value !== undefined) console.warn('Streaming handlers ignore return values.');
      this.settled = true;
      this.finishStream();
    }, (error) => this.fail(error ?? 'handled'));
  }
}

function idle() {
  socket.ref();
  if (queue.length > 0) invoke(queue.shift());
}

function invoke(payload) {
  const end = 4 + payload.readUInt32LE(0);
  const head = JSON.parse(payload.toString('utf8', 4, end));
  requestId = head.id;
  if (head.trace) process.env._X_AMZN_TRACE_ID = head.trace;
  else if (process.env._X_AMZN_TRACE_ID !== undefined) delete process.env._X_AMZN_TRACE_ID;
  current = new Invocation(head);
  // While the handler works only its own doings keep the event loop from being empty.
  socket.unref();
  current.run(payload.subarray(end));
}

function onFrame(kind, payload) {
  if (kind === BEGIN && !setup) {
    begin(JSON.parse(payload.toString())).then(() => {
      ready = true;
      const found = setup.kind === 'event' ? 'event' : 'lambda';
      socket.write(jsonFrame(READY, { kind: found, modules: [] }));
      idle();
    }).catch((error) => {
      printError('Init Error', error);
      socket.write(jsonFrame(FAILED, shapeOf(error)), () => process.exit(1));
    });
  } else if (kind === INVOKE) {
    if (!current && ready) invoke(payload);
    else if (queue.push(payload) > QUEUE_MAX) process.exit(1);
  }
  // Frames of a request's body are for other kinds of functions.
}

/** Ends the process after what nobody caught; the answer says so, since nothing can follow. */
function die(title, error, code) {
  printError(title, error);
  const exit = () => process.exit(code);
  const invocation = current;
  if (ready && !invocation) exit();
  const shape = { ...shapeOf(error), exiting: true };
  if (invocation) invocation.finished = true;
  current = null;
  const out = jsonFrame(ready ? ERROR : FAILED, shape);
  const held = invocation?.stream?.begun ? invocation.stream.pending.splice(0) : [];
  socket.write(Buffer.concat([...held, out]), exit);
}

process.on('uncaughtException', (error) => die('Uncaught Exception', error, EXIT_EXCEPTION));
process.on('unhandledRejection', (reason) => {
  const error = new RuntimeError('UnhandledPromiseRejection', String(
    reason instanceof Error ? reason : util.format(reason)));
  error.reason = reason;
  if (reason instanceof Error) error.stack = `${error.name}: ${error.message}\n${reason.stack}`;
  die('Unhandled Promise Rejection', error, EXIT_REJECTION);
});
process.on('beforeExit', () => {
  if (current) current.empty();
  socket.ref();
});
