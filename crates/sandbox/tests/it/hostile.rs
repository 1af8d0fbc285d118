//! Functions that take all that they can get. While one does, another function of the same runtime
//! keeps its latency; and nothing of it is left afterwards.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fractus_func::limits::LOG_BYTES_MAX;
use fractus_func::{CallError, LogStream, Manifest, Outcome};
use serde_json::{Value, json};

use crate::support::{Bench, Function, are_there_groups, named, named_so, open_files};

/// Calls of the victim at least, the most that half of them take, and the most that any takes.
const CALLS: usize = 20;
const USUAL: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// Waits for an attack, and calls another function meanwhile, which must not notice.
async fn with_a_victim<T>(bench: &Arc<Bench>, attack: impl Future<Output = T>) -> T {
    let victim = bench.probe(|_| {});
    victim.python("answer = 1").await.unwrap();
    let mut attack = pin!(attack);
    let mut done = None;
    let mut took = Vec::new();
    while took.len() < CALLS || done.is_none() {
        let call = async {
            let began = Instant::now();
            assert_eq!(victim.python("answer = CALLS > 1").await.unwrap(), true);
            took.push(began.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let mut call = pin!(call);
        if done.is_none() {
            tokio::select! {
                () = &mut call => continue,
                result = &mut attack => done = Some(result),
            }
        }
        call.await;
    }
    took.sort_unstable();
    let (usual, longest) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "the victim took {usual:?}, at most {longest:?}, in {} calls",
        took.len()
    );
    // Without control groups, the processors are shared by processes, of which a bomb has more.
    if are_there_groups(&bench.name) {
        assert!(usual < USUAL, "half of the calls took {usual:?} or more");
        assert!(longest < LONGEST, "a call took {longest:?}");
    }
    done.expect("the loop waits for it")
}

fn attacker(bench: &Arc<Bench>, change: impl FnOnce(&mut Manifest)) -> Function {
    bench.probe(|manifest| {
        manifest.limits.timeout_s = 1.0;
        change(manifest);
    })
}

/// Runs an attack for as long as it may, and waits until all its processes are gone.
async fn attack(
    code: &str,
    change: impl FnOnce(&mut Manifest),
) -> (Function, Result<Value, CallError>) {
    let bench = Bench::new();
    let function = attacker(&bench, change);
    let (mark, code) = marked(code);
    let result = with_a_victim(&bench, function.python(&code)).await;
    // The one that answered may wait for the next call.
    let answered = |error: &CallError| error.outcome == Outcome::GuestError;
    let left = usize::from(result.as_ref().map_or_else(answered, |_| true));
    bench
        .until("its processes are gone", |_| named_so(&mark) <= left)
        .await;
    (function, result)
}

/// Code whose processes can be told from all others, and by what name.
fn marked(code: &str) -> (String, String) {
    static NUMBERS: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let mark = format!("it{number}-{}", std::process::id());
    // PR_SET_NAME; children inherit it.
    let code = format!("libc.prctl(15, b'{mark}')\n{code}");
    (mark, code)
}

fn timed_out(result: &Result<Value, CallError>) {
    let error = result.as_ref().unwrap_err();
    assert_eq!(error.outcome, Outcome::Timeout);
    let (kind, message) = named(error);
    assert_eq!(kind, "Sandbox.Timedout");
    assert!(
        message.ends_with("Error: Task timed out after 1.00 seconds"),
        "{message}"
    );
}

#[tokio::test]
async fn an_endless_loop_ends_at_its_deadline() {
    let (function, result) = attack("while True: pass", |_| {}).await;
    timed_out(&result);
    let report = function.report().await;
    assert_eq!(report.outcome, Outcome::Timeout);
    assert!((900_000..1_500_000).contains(&report.run_us), "{report:?}");
    if are_there_groups(&function.bench.name) {
        assert!(report.cpu_us > 200_000, "{report:?}");
    }
    // The next one is as if nothing had been.
    assert_eq!(function.python("answer = CALLS").await.unwrap(), 1);
}

#[tokio::test]
async fn a_fork_bomb_fills_its_own_sandbox() {
    let code = "
while True:
    try:
        os.fork()
    except OSError:
        pass
";
    let (_, result) = attack(code, |_| {}).await;
    // What the kernel needs for so many is its memory too.
    let outcome = result.unwrap_err().outcome;
    assert!(
        [Outcome::Timeout, Outcome::MemoryLimit].contains(&outcome),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn threads_and_processes_are_counted_together() {
    let code = "
started = 0
try:
    for _ in range(700):
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
        started += 1
    for _ in range(700):
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        started += 1
    answer = 'no end'
except (RuntimeError, OSError):
    answer = started
";
    let (function, result) = attack(code, |manifest| {
        manifest.limits.memory_mb = 4096;
        manifest.limits.timeout_s = 9.0;
        manifest.instances.idle_s = 0;
    })
    .await;
    let started = result.unwrap();
    if are_there_groups(&function.bench.name) {
        assert_eq!(started, 1023);
    }
}

#[tokio::test]
async fn a_memory_bomb_is_killed_alone() {
    let code = "
kept = []
while True:
    kept.append(bytearray(b'x' * (4 << 20)))
";
    let (function, result) = attack(code, |_| {}).await;
    let error = result.unwrap_err();
    if are_there_groups(&function.bench.name) {
        assert_eq!(error.outcome, Outcome::MemoryLimit);
        assert_eq!(named(&error).0, "Runtime.OutOfMemory");
        assert!(function.report().await.peak_memory > 100 << 20);
    } else {
        assert_eq!(named(&error).0, "MemoryError");
    }
    // Without control groups, Python is refused memory and tells so.
    let fresh = error.outcome == Outcome::MemoryLimit;
    let calls = function.python("answer = CALLS").await.unwrap();
    assert_eq!(calls, if fresh { 1 } else { 2 });
}

#[tokio::test]
async fn memory_of_all_its_processes_and_of_the_kernel_for_it_counts() {
    let bench = Bench::new();
    if !are_there_groups(&bench.name) {
        return;
    }
    // Each process has little; pipes, sockets, files and shared memory are the kernel's.
    let attacks = [
        "
for _ in range(64):
    if os.fork() == 0:
        kept = bytearray(b'x' * (8 << 20))
        time.sleep(30)
time.sleep(30)
",
        "
import fcntl
while True:
    for _ in range(400):
        r, w = os.pipe()
        attempt(fcntl.fcntl, w, 1031, 1 << 20)
        os.set_blocking(w, False)
        attempt(os.write, w, b'x' * (1 << 20))
    if os.fork():
        time.sleep(30)
    os.closerange(4, 1024)
",
        "
while True:
    file = os.memfd_create('m')
    os.write(file, b'x' * (8 << 20))
",
        "
import mmap
kept = []
while True:
    shared = mmap.mmap(-1, 8 << 20)
    shared.write(b'x' * (8 << 20))
    kept.append(shared)
",
    ];
    for code in attacks {
        let function = attacker(&bench, |manifest| manifest.limits.timeout_s = 1.5);
        let error = with_a_victim(&bench, function.python(code))
            .await
            .unwrap_err();
        // Those that are killed may be others than the one that the call waits for.
        let outcomes = [Outcome::MemoryLimit, Outcome::Timeout];
        assert!(outcomes.contains(&error.outcome), "{code}: {error:?}");
        let report = function.report().await;
        let limit = function.memory_bytes() as u64;
        assert!(
            (limit / 2..=limit).contains(&report.peak_memory),
            "{code}: {report:?}"
        );
    }
}

#[tokio::test]
async fn tmp_has_an_end() {
    let code = r#"
def fill(path):
    written = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while True:
                written += file.write(b"x" * 65536)
    except OSError as error:
        return [written, errno.errorcode[error.errno]]

answer = [fill("/tmp/all"), fill("/dev/shm/more")]
os.unlink("/tmp/all")
answer.append(attempt(os.truncate, "/dev/shm/more", 1 << 40) if True else None)
"#;
    let (_, result) = attack(code, |manifest| {
        manifest.limits.tmp_mb = 16;
        manifest.limits.memory_mb = 256;
    })
    .await;
    let told = result.unwrap();
    assert_eq!(told[0], json!([16 << 20, "ENOSPC"]));
    assert_eq!(told[1][1], "ENOSPC");
    assert_eq!(told[1][0], 0);
}

#[tokio::test]
async fn tmp_has_an_end_of_files_too() {
    let code = r#"
made = 0
try:
    while True:
        os.mknod("/tmp/%d" % made)
        made += 1
except OSError as error:
    answer = [made, errno.errorcode[error.errno]]
"#;
    let (_, result) = attack(code, |manifest| {
        manifest.limits.memory_mb = 512;
        manifest.limits.timeout_s = 10.0;
    })
    .await;
    let told = result.unwrap();
    assert_eq!(told[1], "ENOSPC");
    assert!(
        (60_000..65_536).contains(&told[0].as_u64().unwrap()),
        "{told}"
    );
}

#[tokio::test]
async fn descriptors_have_an_end_and_are_its_own() {
    let code = r#"
def take_all():
    taken = 0
    try:
        while True:
            os.dup(0)
            taken += 1
    except OSError as error:
        return [taken, errno.errorcode[error.errno]]

children = []
for _ in range(40):
    r, w = os.pipe()
    if os.fork() == 0:
        take_all()
        os.write(w, b"x")
        time.sleep(30)
        os._exit(0)
    os.read(r, 1)
    os.close(r)
    os.close(w)
answer = take_all()
"#;
    let before = open_files();
    let (_, result) = attack(code, |manifest| {
        manifest.limits.memory_mb = 512;
        manifest.limits.timeout_s = 5.0;
        manifest.instances.idle_s = 0;
    })
    .await;
    let told = result.unwrap();
    assert_eq!(told[1], "EMFILE");
    assert!((1000..1024).contains(&told[0].as_u64().unwrap()), "{told}");
    assert!(
        open_files() < before + 400,
        "the node's descriptors are not the guests'"
    );
}

#[tokio::test]
async fn a_log_flood_is_cut() {
    let code = "
line = b'0123456789' * 6 + b'\\n'
while True:
    os.write(1, line * 1000)
    os.write(2, line)
";
    let (function, result) = attack(code, |_| {}).await;
    timed_out(&result);
    let logged = function.logged().await;
    let bytes: usize = logged.iter().map(|(_, line)| line.len() + 1).sum();
    assert!(
        (LOG_BYTES_MAX / 2..LOG_BYTES_MAX + 1000).contains(&bytes),
        "{bytes}"
    );
    let cut = |(stream, line): &(LogStream, String)| {
        *stream == LogStream::System && line.starts_with("this call logged too much")
    };
    assert!(logged.iter().any(cut));
}

#[tokio::test]
async fn a_flood_without_lines_is_cut_too() {
    let (function, result) = attack("while True: os.write(2, b'x' * 65536)", |_| {}).await;
    timed_out(&result);
    let bytes: usize = function
        .logged()
        .await
        .iter()
        .map(|(_, line)| line.len())
        .sum();
    assert!(bytes < LOG_BYTES_MAX, "{bytes}");
}

#[tokio::test]
async fn a_child_that_outlives_its_parent_ends_with_the_deadline() {
    let code = "
import signal
for _ in range(8):
    if os.fork() == 0:
        os.setsid()
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            os.close(0); os.close(1); os.close(2); os.close(3)
            while True: time.sleep(100)
        os._exit(0)
ENDS
";
    let endless = code.replace("ENDS", "while True: time.sleep(1)");
    let (function, result) = attack(&endless, |_| {}).await;
    timed_out(&result);
    // With the instance that answered, too.
    let fresh = attacker(&function.bench, |manifest| manifest.instances.idle_s = 0);
    let (mark, answers) = marked(&code.replace("ENDS", "answer = 1"));
    assert_eq!(fresh.python(&answers).await.unwrap(), 1);
    let bench = &function.bench;
    bench.until("they are gone", |_| named_so(&mark) == 0).await;
}

#[tokio::test]
async fn its_network_is_all_that_it_can_fill() {
    let code = r#"
import resource
listeners, others, ports = [], [], 0
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    for port in range(1, 65536):
        s = socket.socket(socket.AF_INET, kind)
        if attempt(s.bind, ("127.0.0.1", port)) is None:
            ports += 1
        if len(listeners) < 300:
            listeners.append(s)
            if kind == socket.SOCK_STREAM:
                attempt(s.listen, 4096)
        else:
            s.close()
        if port % 512 == 0 and time.time() > END:
            break
try:
    while True:
        s = socket.socket()
        s.setblocking(False)
        others.append(s)
        attempt(s.connect, listeners[len(others) % 200].getsockname())
except OSError as error:
    answer = [ports, errno.errorcode[error.errno]]
"#;
    let code = code.replace("END", "time.time() + 1");
    let (_, result) = attack(&code, |manifest| {
        manifest.limits.timeout_s = 10.0;
        manifest.limits.memory_mb = 256;
    })
    .await;
    let told = result.unwrap();
    assert_eq!(told[1], "EMFILE", "{told}");
    assert!(told[0].as_u64().unwrap() > 500, "{told}");
}

#[tokio::test]
async fn what_the_kernel_counts_by_user_is_not_taken_from_the_host() {
    // A user namespace's share of these is counted for whoever made it, too.
    let code = "
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
queued = 0
while queued < 200_000 and libc.sigqueue(os.getpid(), 40, ctypes.c_void_p(0)) == 0:
    queued += 1
made = libc.inotify_init1(0)
answer = [queued, made]
";
    let (_, result) = attack(code, |manifest| manifest.limits.timeout_s = 5.0).await;
    let told = result.unwrap();
    assert!(told[0].as_u64().unwrap() <= 1024, "{told}");
    assert_eq!(told[1], -1);
}

#[tokio::test]
async fn links_in_tmp_lead_to_nothing_of_the_hosts() {
    let bench = Bench::shared();
    let folder = bench.path().join("canary");
    std::fs::create_dir_all(&folder).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&folder, open).unwrap();
    let canary = folder.join("file");
    std::fs::write(&canary, "alive").unwrap();
    let code = r#"
def write(path):
    with open(path, "w") as file:
        file.write("dead")

targets = "CANARY", "/proc/1/root/CANARY", "/../../../CANARY", "/proc/self/cwd/../..CANARY"
answer = []
for number, target in enumerate(targets):
    link = "/tmp/link%d" % number
    os.symlink(target, link)
    answer.append(attempt(write, link))
    answer.append(attempt(os.truncate, link, 0))
os.symlink(os.path.dirname("CANARY"), "/tmp/folder")
answer.append(attempt(write, "/tmp/folder/new"))
answer.append(attempt(os.rename, "/tmp/link0", "/tmp/folder/new"))
answer.append(attempt(os.mkdir, "/tmp/folder"))
"#;
    let probe = bench.probe(|manifest| manifest.instances.idle_s = 0);
    let code = code.replace("CANARY", canary.to_str().unwrap());
    let told = probe.python(&code).await.unwrap();
    for result in told.as_array().unwrap() {
        assert!(
            ["ENOENT", "EEXIST"].contains(&result.as_str().unwrap_or("done")),
            "{told}"
        );
    }
    // What removes its files does not follow them either.
    bench
        .until("the instance is gone", |bench| {
            bench.runtime.standing().idle.0 < 50
        })
        .await;
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "alive");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}
