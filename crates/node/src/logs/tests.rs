use std::fs::{self, OpenOptions};
use std::io::Write;

use fractus_func::{FunctionName, LogStream, RequestId};

use super::Logs;
use super::file::LogFile;
use super::{LogLine, Stream};
use crate::limits::LOG_FILE_MAX;

fn name(text: &str) -> FunctionName {
    text.parse().unwrap()
}

fn id() -> RequestId {
    RequestId::from_random(1)
}

fn lines(found: &[LogLine]) -> Vec<(u64, &str)> {
    found
        .iter()
        .map(|line| (line.seq, line.line.as_str()))
        .collect()
}

#[test]
fn lines_are_numbered_over_restarts_and_a_torn_one_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::open(dir.path().to_owned()).unwrap();
    logs.write(&name("a"), id(), LogStream::Stdout, "one");
    logs.write(&name("b"), id(), LogStream::Stderr, "other");
    logs.write(&name("a"), id(), LogStream::System, "two");
    let found = logs.read(&name("a"), None, 10).unwrap();
    assert_eq!(lines(&found), [(1, "one"), (2, "two")]);
    assert_eq!(found[1].stream, Stream::System);
    drop(logs);

    let path = dir.path().join("a.jsonl");
    let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
    torn.write_all(b"{\"seq\":3,\"at").unwrap();
    let logs = Logs::open(dir.path().to_owned()).unwrap();
    logs.write(&name("a"), id(), LogStream::Stdout, "three");
    let found = logs.read(&name("a"), Some(1), 10).unwrap();
    assert_eq!(lines(&found), [(2, "two"), (3, "three")]);
    assert_eq!(
        lines(&logs.read(&name("a"), None, 1).unwrap()),
        [(3, "three")]
    );
    assert_eq!(
        lines(&logs.read(&name("a"), Some(0), 1).unwrap()),
        [(1, "one")]
    );
    assert_eq!(logs.read(&name("c"), None, 1).unwrap(), []);
    logs.remove(&name("a"));
    assert_eq!(logs.read(&name("a"), None, 10).unwrap(), []);
}

#[test]
fn a_guest_that_never_stops_fills_two_files_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let function = name("a");
    let mut file = LogFile::open(dir.path(), &function).unwrap();
    let text = "x".repeat(8 << 10);
    let rounds = 3 * LOG_FILE_MAX / text.len() as u64;
    for round in 1..=rounds {
        let mut line = LogLine {
            seq: 0,
            at_ms: 0,
            request_id: id(),
            stream: Stream::Stdout,
            line: text.clone(),
        };
        file.append(&mut line).unwrap();
        assert_eq!(line.seq, round);
    }
    file.flush().unwrap();
    let sizes = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len());
    let sizes: Vec<_> = sizes.collect();
    assert_eq!(sizes.len(), 2);
    assert!(sizes.iter().all(|size| *size <= LOG_FILE_MAX));
    let kept = super::file::read(dir.path(), &function, Some(0), usize::MAX).unwrap();
    assert_eq!(kept.last().unwrap().seq, rounds);
    assert!(kept.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));

    // The number goes on where it was, also when the newest file is still empty.
    fs::rename(dir.path().join("a.jsonl"), dir.path().join("a.jsonl.1")).unwrap();
    let mut file = LogFile::open(dir.path(), &function).unwrap();
    let mut line = kept[0].clone();
    file.append(&mut line).unwrap();
    assert_eq!(line.seq, rounds + 1);
}

#[test]
fn what_does_not_fit_is_counted_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::open(dir.path().to_owned()).unwrap();
    let function = name("a");
    logs.shared.losses.add(&function);
    logs.shared.losses.add(&function);
    logs.write(&function, id(), LogStream::Stdout, "after");
    let found = logs.read(&function, None, 10).unwrap();
    assert_eq!(found.len(), 2);
    assert!(
        found[0]
            .line
            .starts_with("2 lines before this one were dropped")
    );
    assert_eq!(found[1].line, "after");
}

#[tokio::test]
async fn followers_see_lines_as_they_come() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::open(dir.path().to_owned()).unwrap();
    let mut follower = logs.follow();
    logs.write(&name("a"), id(), LogStream::Stdout, &"é".repeat(8 << 10));
    let followed = follower.recv().await.unwrap();
    assert_eq!(followed.function, name("a"));
    assert_eq!(followed.line.line.len(), 8 << 10);
}
