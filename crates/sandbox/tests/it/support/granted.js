// What programs take for granted.
const { spawnSync } = require('node:child_process');
const { Worker } = require('node:worker_threads');
const fs = require('node:fs'), os = require('node:os'), dns = require('node:dns').promises;
const net = require('node:net'), crypto = require('node:crypto'), zlib = require('node:zlib');
const once = (make) => new Promise((done, failed) => { const it = make(done); it.on('error', failed); });
const tried = async (call) => { try { return await call(); } catch (e) { return String(e); } };
exports.handler = async () => {
  const done = {};
  done.spawn = await tried(() => spawnSync(process.execPath, ['-p', '6 * 7'], { encoding: 'utf8' }).stdout.trim());
  done.worker = await tried(() => once((ok) => new Worker(
    'require(\'node:worker_threads\').parentPort.postMessage(42)', { eval: true }).on('message', ok)));
  done.dns = await tried(async () => (await dns.lookup('localhost', { family: 4 })).address);
  done.net = await tried(() => once((ok) => {
    const server = net.createServer((s) => s.end('hi')).listen(0, '127.0.0.1', () => {
      net.connect(server.address().port, '127.0.0.1').on('data', (d) => ok(String(d)));
    });
    return server;
  }));
  done.files = await tried(async () => {
    await fs.promises.mkdir('/tmp/a/b', { recursive: true });
    await fs.promises.writeFile('/tmp/a/b/c', 'x');
    await fs.promises.cp('/tmp/a', '/tmp/d', { recursive: true });
    return fs.readFileSync('/tmp/d/b/c', 'utf8');
  });
  done.os = await tried(() => [os.hostname(), os.homedir(), os.tmpdir()]);
  done.crypto = await tried(() => crypto.scryptSync('x', 'y', 32).length + crypto.randomBytes(4).length);
  done.zlib = await tried(() => zlib.gunzipSync(zlib.gzipSync('x')).toString());
  done.fetch = await tried(() => typeof fetch);
  return done;
};
