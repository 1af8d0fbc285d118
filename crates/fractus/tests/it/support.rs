//! A node as a child process, commands against it, and plain HTTP.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_mins(2);

/// Longest wait for a node that nobody needs any more.
const GOODBYE: Duration = Duration::from_secs(5);

/// The command `fractus` on a data directory.
pub(crate) fn fractus(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fractus"));
    command.arg("--data").arg(data).args(arguments);
    command
        .env_remove("FRACTUS_DATA")
        .env("FRACTUS_LOG", "warn")
        .env_remove("RUST_LOG");
    command
}

/// A folder of the examples.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(name)
}

/// The component of an example, which is deployed so that it is built.
pub(crate) fn component(node: &Node, name: &str) -> PathBuf {
    let project = example(name);
    node.ok(&["deploy", project.to_str().unwrap()]);
    project.join(format!("target/wasm32-wasip2/release/{name}.wasm"))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asserts that a command failed with `code`, and returns what it told.
#[track_caller]
pub(crate) fn failed(output: &Output, code: i32) -> String {
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    told
}

/// A node in a process of its own, which ends with this value.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    data: PathBuf,
}

impl Node {
    /// Starts a node on `data` and waits until it is ready.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    /// The same, with more on its command line.
    pub(crate) fn start_with(data: &Path, more: &[&str]) -> Self {
        Self::start_in(data, more, &[])
    }

    /// The same, with variables in its environment.
    pub(crate) fn start_in(data: &Path, more: &[&str], variables: &[(&str, &Path)]) -> Self {
        let free = "127.0.0.1:0";
        let up = ["up", "--edge", free, "--api", free, "--admin", free];
        let mut child = fractus(data, &[&up, more].concat())
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let greeting = BufReader::new(child.stdout.take().unwrap());
        let ready = greeting
            .lines()
            .map_while(Result::ok)
            .any(|line| line.contains("Ctrl-C"));
        let node = Self {
            child,
            data: data.to_owned(),
        };
        assert!(ready, "the node ended before it was ready");
        node
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits until the process has ended.
    pub(crate) fn wait(mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// Runs a command against the node.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        fractus(&self.data, arguments).output().unwrap()
    }

    /// Runs a command that must succeed; what it wrote to standard output.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// As [`Node::ok`], with `--json`.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// What a JSON file of the data directory says.
    pub(crate) fn file(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.data.join(name)).unwrap()).unwrap()
    }

    /// The address of a listener.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        self.file("node.json")[listener]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// The head that lets a request in to the admin API.
    pub(crate) fn authorization(&self) -> String {
        let token = self.file("credentials.json")["admin_token"]
            .as_str()
            .unwrap()
            .to_owned();
        format!("Authorization: Bearer {token}\r\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already. Killed at once it would leave frozen sandboxes behind, which
        // only the next node on its data directory ends.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            let give_up = Instant::now() + GOODBYE;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < give_up {
                thread::sleep(Duration::from_millis(2));
            }
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits until a process has ended.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    until("the process ends", || child.try_wait().unwrap())
}

/// Waits until `check` has something.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < give_up, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A data directory and a node on it.
pub(crate) fn cloud() -> (TempDir, Node) {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start(&directory.path().join("data"));
    (directory, node)
}

/// One HTTP request over a connection of its own: status, head and body of the answer, or the
/// error of a connection that broke.
pub(crate) fn request(
    address: SocketAddr,
    line: &str,
    headers: &str,
    body: &[u8],
) -> std::io::Result<(u16, String, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\
         {headers}\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let broken = || std::io::Error::other("the answer broke off");
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or_else(broken)?;
    let body = answer.split_off(end + 4);
    let head = text(&answer);
    let status = head
        .get(9..12)
        .and_then(|code| code.parse().ok())
        .ok_or_else(broken)?;
    let announced = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let length = name
            .eq_ignore_ascii_case("content-length")
            .then_some(value)?;
        length.trim().parse::<usize>().ok()
    });
    match announced {
        Some(length) if length != body.len() => Err(broken()),
        _ => Ok((status, head, body)),
    }
}

/// Gets a path; the answer must be whole.
#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String, Vec<u8>) {
    request(address, &format!("GET {path}"), "", b"").unwrap()
}

/// Bytes that look random and are the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(step).collect()
}
