//! A process that streams objects is killed; what it was told is durable must be there.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use fractus_blob::{BucketSettings, Store, WriteError};

use crate::{bucket, config, get, list, pattern, put};

/// Tells this test's own binary to be the process that is killed.
const CHILD: &str = "FRACTUS_BLOB_CRASH_CHILD";
const THREADS: usize = 4;
const ROUNDS: usize = 5;
const ACKS_A_ROUND: usize = 60;

/// The content that belongs to a name; one in eight is streamed in chunks.
fn content(thread: usize, turn: usize) -> Vec<u8> {
    let len = if turn % 8 == 7 {
        (1 << 20) + 4096 * turn
    } else {
        100 * turn + thread
    };
    pattern(len)
}

fn name(round: usize, thread: usize, turn: usize) -> String {
    format!("{round} {thread} {turn}")
}

/// Writes until it is killed, and says after each acknowledgement what was acknowledged.
fn child(dir: &Path, round: usize) {
    let store = Store::open(dir, config()).expect("the store opens");
    match store
        .create_bucket(&bucket(), BucketSettings::default())
        .wait()
    {
        Ok(_) | Err(WriteError::BucketExists { .. }) => {}
        Err(error) => panic!("no bucket: {error:?}"),
    }
    let out = Mutex::new(std::io::stdout());
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (store, out) = (&store, &out);
            scope.spawn(move || {
                for turn in 0.. {
                    let name = name(round, number, turn);
                    put(store, &name, &content(number, turn)).expect("put");
                    let mut out = out.lock().expect("no panic");
                    writeln!(out, "ack {name}").expect("the parent listens");
                    out.flush().expect("the parent listens");
                }
            });
        }
    });
}

fn parse(name: &str) -> (usize, usize, usize) {
    let numbers: Vec<usize> = name
        .split(' ')
        .map(|n| n.parse().expect("a number"))
        .collect();
    (numbers[0], numbers[1], numbers[2])
}

#[test]
fn a_killed_process_keeps_what_it_acknowledged() {
    if let Some(value) = std::env::var_os(CHILD) {
        let value = value.into_string().expect("text");
        let (round, dir) = value.split_once(' ').expect("a round and a directory");
        return child(Path::new(dir), round.parse().expect("a number"));
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged = BTreeSet::new();
    for round in 0..ROUNDS {
        acknowledged.extend(run_and_kill(dir.path(), round));
        let store = Store::open(dir.path(), config()).expect("the store opens");
        let found: BTreeSet<String> = list(&store, "", "", 10_000).0.into_iter().collect();
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        assert_eq!(lost, Vec::<&String>::new(), "round {round}");
        for name in &found {
            let (_, thread, turn) = parse(name);
            let read = get(&store, name).expect("readable").expect("listed");
            assert!(read == content(thread, turn), "{name} is whole");
        }
        assert_eq!(store.health().damaged, []);
        assert_eq!(store.verify(|_| {}).expect("readable").damaged_count, 0);
    }
}

/// Kills a child in the middle of its work. What it had acknowledged by then.
fn run_and_kill(dir: &Path, round: usize) -> Vec<String> {
    let this = std::env::current_exe().expect("this binary");
    let mut child = Command::new(this)
        .args([
            "--exact",
            "crash::a_killed_process_keeps_what_it_acknowledged",
            "--nocapture",
        ])
        .env(CHILD, format!("{round} {}", dir.display()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let acks = |line: String| line.strip_prefix("ack ").map(str::to_owned);
    let mut acknowledged = Vec::new();
    while acknowledged.len() < ACKS_A_ROUND + round {
        let line = lines.next().expect("the child goes on").expect("text");
        acknowledged.extend(acks(line));
    }
    child.kill().expect("it lives");
    child.wait().expect("it ends");
    // A line cut off by the kill says less than was acknowledged, never more.
    let rest = lines.map_while(Result::ok).collect::<Vec<_>>();
    let whole = rest.len().saturating_sub(1);
    acknowledged.extend(rest.into_iter().take(whole).filter_map(acks));
    acknowledged
}
