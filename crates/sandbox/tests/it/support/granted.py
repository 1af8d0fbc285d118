"""What programs take for granted; run as the code of an event."""

import asyncio, concurrent.futures, decimal, getpass, hashlib, locale, multiprocessing, pathlib, pwd
import select, shutil, sqlite3, ssl, subprocess, tempfile, zoneinfo, datetime, glob, mmap, fcntl

def tried(what, call):
    try:
        done[what] = call()
    except BaseException as error:
        done[what] = "%s: %s" % (type(error).__name__, error)

def square(x):
    return x * x

def forked():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(square, [1, 2, 3])

def ran():
    ran = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True)
    return ran.stdout.strip() or ran.stderr

def threads():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return sum(pool.map(square, range(4)))

async def waited():
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(1)", stdout=-1)
    out, _ = await process.communicate()
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    return [out.decode().strip(), (await reader.read()).decode()]

def database():
    with sqlite3.connect("/tmp/data.db") as db:
        db.execute("pragma journal_mode=wal")
        db.execute("create table t (x)")
        db.execute("insert into t values (42)")
        return db.execute("select x from t").fetchone()[0]

def files():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "a")
        path.write_text("x")
        path.chmod(0o600)
        os.utime(path)
        path.rename(path.with_name("b"))
        shutil.copytree(folder, folder + "2")
        with open(path.with_name("b"), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with mmap.mmap(file.fileno(), 1) as mapped:
                return mapped[:].decode()

def waits():
    poll = select.epoll()
    r, w = os.pipe()
    poll.register(r, select.EPOLLIN)
    os.write(w, b"x")
    return len(poll.poll(1)) + len(select.select([r], [], [], 1)[0])

done = {}
globals().update(locals())
sys.modules["__main__"].square = square
square.__module__ = "__main__"
for what, call in (
    ("fork", forked), ("run", ran), ("threads", threads), ("asyncio", lambda: asyncio.run(waited())),
    ("sqlite", database), ("files", files), ("poll", waits), ("user", getpass.getuser),
    ("home", lambda: os.path.expanduser("~")), ("passwd", lambda: pwd.getpwuid(993).pw_name),
    ("host", lambda: socket.gethostbyname("localhost")), ("name", socket.gethostname),
    ("zone", lambda: str(datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")).utcoffset())),
    ("ssl", lambda: ssl.create_default_context().check_hostname),
    ("certificates", lambda: ssl.create_default_context().cert_store_stats()["x509_ca"] > 0),
    ("cpus", lambda: os.cpu_count() > 0 and len(os.sched_getaffinity(0)) > 0),
    ("semaphore", lambda: multiprocessing.Lock().acquire(timeout=1)),
    ("time", lambda: time.strftime("%Z")), ("signal", lambda: str(__import__("signal").SIGALRM)),
    ("scrypt", lambda: len(hashlib.scrypt(b"x", salt=b"y", n=2, r=1, p=1))),
):
    tried(what, call)
answer = done
