//! The API of an `OpenLambda` worker, driven as `OpenLambda`'s own clients and tests drive it:
//! archives are posted to `/registry/NAME` and called at `/run/NAME`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::{fs, thread};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use crate::support::{Node, get, request, text};

const ECHO: &str = "def f(event):\n    return event\n";

/// `scripts/test.py`'s `wsgi_post_echo`, without Flask.
const WSGI: &str = r#"
def app(environ, start_response):
    body = environ["wsgi.input"].read()
    kind = environ.get("CONTENT_TYPE") or "text/plain"
    start_response("418 I'm a teapot", [
        ("A", "B"), ("Content-Type", kind),
        ("X-Path", environ["SCRIPT_NAME"] + environ["PATH_INFO"]),
        ("X-Query", environ["QUERY_STRING"])])
    return [body or b"hi\n"]
"#;

const ASGI: &str = r#"
import json


async def app(scope, receive, send):
    message = await receive()
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"application/json")]})
    text = {"message": "hello world", "sent": message["body"].decode()}
    await send({"type": "http.response.body", "body": json.dumps(text).encode()})
"#;

/// Two routes, as `flask-entry-test` and `wsgi-entry-test` have them.
const ENTRY: &str = r#"
import json
import os


def my_wsgi_app(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"].rstrip("/").endswith("/info"):
        return [json.dumps({"entry_file": os.path.basename(__file__)}).encode()]
    return [b"hello from " + __name__.encode()]
"#;

const PROGRAM: &str = r#"
fn main() {
    let argument = std::env::args().nth(1).unwrap();
    println!("called with {argument}");
    match argument.as_str() {
        "" => {}
        "fail" => std::process::exit(7),
        "abort" => std::process::abort(),
        _ => {
            let level = std::env::var("RUST_LOG").unwrap();
            let colour = std::env::var("COLOUR").unwrap();
            std::fs::write("/tmp/output", format!("{argument} {level} {colour}")).unwrap();
        }
    }
}
"#;

const COUNTER: &str = "
calls = 0


def f(event):
    global calls
    calls += 1
    return calls
";

/// A gzipped tar file of files, each with its permissions and contents.
fn archive_of(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, mode, contents) in files {
        let mut header = Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(*mode);
        tar.append_data(&mut header, name, *contents).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let files = files.iter();
    let files = files.map(|(name, contents)| (*name, 0o644, contents.as_bytes()));
    archive_of(&files.collect::<Vec<_>>())
}

/// An archive with one entry that the library would not write.
fn archive_with(kind: EntryType, name: &str, link: &str) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(0);
    header.set_cksum();
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    tar.append(&header, &b""[..]).unwrap();
    tar.into_inner().unwrap().finish().unwrap()
}

/// An archive that unpacks to far more than it has bytes.
fn bomb() -> Vec<u8> {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    let mut header = Header::new_gnu();
    header.set_path("f.py").unwrap();
    header.set_mode(0o644);
    header.set_size(1 << 40);
    header.set_cksum();
    bomb.write_all(header.as_bytes()).unwrap();
    for _ in 0..=512 {
        bomb.write_all(&vec![0; 1 << 20]).unwrap();
    }
    bomb.finish().unwrap()
}

/// A node, and the way in for whoever has its token.
struct Worker {
    edge: SocketAddr,
    token: String,
    node: Node,
    directory: TempDir,
}

/// Status, head and body.
type Answer = (u16, String, Vec<u8>);

impl Worker {
    fn start() -> Self {
        let (directory, node) = crate::support::cloud();
        Self {
            edge: node.address("edge"),
            token: node.authorization(),
            node,
            directory,
        }
    }

    /// Asks the registry, or for what else needs the token.
    fn ask(&self, line: &str, body: &[u8]) -> Answer {
        let answer = request(self.edge, line, &self.token, body).unwrap();
        let head = answer.1.to_ascii_lowercase();
        assert!(
            head.contains("cache-control: no-store\r\n"),
            "{line}: {head}"
        );
        answer
    }

    fn json(&self, path: &str) -> Value {
        let (status, head, body) = self.ask(&format!("GET {path}"), b"");
        assert_eq!(status, 200, "{head}{}", text(&body));
        serde_json::from_slice(&body).unwrap()
    }

    #[track_caller]
    fn install(&self, name: &str, archive: &[u8]) {
        let (status, _, body) = self.ask(&format!("POST /registry/{name}"), archive);
        let told = text(&body);
        assert_eq!(
            (status, told),
            (201, format!("Lambda {name} uploaded successfully"))
        );
    }

    /// The status and the text of an upload that is refused.
    fn refusal(&self, name: &str, archive: &[u8]) -> (u16, String) {
        let (status, _, body) = self.ask(&format!("POST /registry/{name}"), archive);
        (status, text(&body))
    }

    /// Calls a function with a method and a path below `/run/`.
    fn run(&self, line: &str, body: &[u8]) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        request(self.edge, &format!("{method} /run/{path}"), "", body).unwrap()
    }

    #[track_caller]
    fn post(&self, path: &str, body: &[u8]) -> String {
        let (status, head, answer) = self.run(&format!("POST {path}"), body);
        assert_eq!(status, 200, "{head}{}", text(&answer));
        text(&answer)
    }
}

#[test]
fn an_event_is_answered_and_counted() {
    let worker = Worker::start();
    assert_eq!(get(worker.edge, "/status").0, 200);
    assert_eq!(get(worker.edge, "/status").2, b"ready\n");
    assert_eq!(worker.json("/registry/"), json!([]));
    assert_eq!(worker.json("/stats"), json!({}));

    worker.install("echo", &archive(&[("f.py", ECHO)]));
    for event in ["\"hello\"", "{\"a\": [1, null, 2.5]}", "[]"] {
        let answer: Value = serde_json::from_str(&worker.post("echo", event.as_bytes())).unwrap();
        assert_eq!(answer, serde_json::from_str::<Value>(event).unwrap());
    }
    assert_eq!(worker.json("/registry"), json!(["echo"]));
    let stats = worker.json("/stats");
    assert_eq!(stats["echo.cnt"], 3);
    assert!(stats["echo.ms-avg"].is_u64(), "{stats}");

    let (status, _, body) = worker.ask("GET /registry/echo", b"");
    assert_eq!((status, text(&body).as_str()), (501, "not implemented\n"));
    let (status, _, body) = worker.ask("PUT /registry/echo", b"");
    assert_eq!(
        (status, text(&body).as_str()),
        (405, "method not allowed\n")
    );
    assert_eq!(worker.ask("POST /registry/", b"").0, 405);
}

#[test]
fn applications_get_the_request_itself() {
    let worker = Worker::start();
    worker.install("wsgi", &archive(&[("f.py", WSGI)]));
    let (status, head, body) = worker.run("GET wsgi/a/b?c=d", b"");
    assert_eq!((status, text(&body).as_str()), (418, "hi\n"));
    let head = head.to_ascii_lowercase();
    assert!(
        head.contains("\r\na: b\r\n") && head.contains("x-query: c=d\r\n"),
        "{head}"
    );
    assert!(head.contains("/a/b\r\n"), "{head}");
    for body in ["plain text", "{\"some\": \"json\"}"] {
        assert_eq!(text(&worker.run("POST wsgi", body.as_bytes()).2), body);
    }

    worker.install("asgi", &archive(&[("f.py", ASGI)]));
    let answer: Value = serde_json::from_str(&worker.post("asgi", b"x")).unwrap();
    assert_eq!(answer, json!({"message": "hello world", "sent": "x"}));

    for (name, file, variables) in [
        ("entry", "app.py", "{OL_ENTRY_FILE: app.py}"),
        (
            "wsgi-entry",
            "main.py",
            "{OL_ENTRY_FILE: main.py, OL_WSGI_ENTRY: my_wsgi_app}",
        ),
    ] {
        let config = format!("environment: {variables}\n");
        let code = if name == "entry" {
            ENTRY.replace("my_wsgi_app", "app")
        } else {
            ENTRY.to_owned()
        };
        worker.install(name, &archive(&[(file, &code), ("./ol.yaml", &config)]));
        assert!(worker.post(name, b"").starts_with("hello from"), "{name}");
        let info: Value = serde_json::from_str(&worker.post(&format!("{name}/info"), b"")).unwrap();
        assert_eq!(info["entry_file"], file);
    }
}

#[test]
fn a_program_answers_by_its_file() {
    let worker = Worker::start();
    let source = worker.directory.path().join("program.rs");
    let built = worker.directory.path().join("f.bin");
    fs::write(&source, PROGRAM).unwrap();
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--edition=2024", "-Cdebuginfo=0", "-Cstrip=symbols", "-o"])
        .arg(&built);
    let told = rustc.arg(&source).output().unwrap();
    assert!(told.status.success(), "{}", text(&told.stderr));
    let program = fs::read(&built).unwrap();
    let config = ("ol.yaml", 0o644, &b"environment: {COLOUR: blue}\n"[..]);

    worker.install(
        "program",
        &archive_of(&[("f.bin", 0o755, &program), config]),
    );
    assert_eq!(
        worker.post("program", b"{\"a\": 1}"),
        "{\"a\": 1} info blue"
    );
    // What the call before left is not its answer.
    assert_eq!(worker.post("program", b""), "");
    let failure = |body: &[u8]| {
        let (status, _, told) = worker.run("POST program", body);
        (status, text(&told))
    };
    assert_eq!(
        failure(b"fail"),
        (500, "Function failed with error_code: 7".to_owned())
    );
    assert_eq!(
        failure(b"abort"),
        (500, "Function failed with signal: 6".to_owned())
    );
    assert_eq!(failure(b"a\0b").0, 400);
    assert_eq!(failure(&vec![b'a'; 1 << 20]).0, 413);
    assert_eq!(worker.post("program", b"again"), "again info blue");
    let logs = worker.node.ok(&["logs", "program"]);
    assert!(logs.contains("called with again"), "{logs}");

    let (status, told) = worker.refusal("plain", &archive_of(&[("f.bin", 0o644, &program)]));
    assert!(
        status == 400 && told.contains("chmod +x"),
        "{status} {told}"
    );
}

#[test]
fn the_configuration_holds() {
    let worker = Worker::start();
    let config =
        "triggers:\n  http: [{method: GET}, {method: POST}]\n  cron: [{schedule: '0 4 * * 0'}]\n";
    worker.install("teapot", &archive(&[("f.py", WSGI), ("ol.yaml", config)]));
    assert_eq!(worker.run("POST teapot", b"").0, 418);
    let (status, head, body) = worker.run("PUT teapot", b"");
    assert_eq!(status, 405, "{head}");
    let told = "HTTP method not allowed. Sent: PUT, Allowed: [GET POST]\n";
    assert_eq!(text(&body), told);
    let told = worker.json("/registry/teapot/config");
    let http = json!([{"Method": "GET"}, {"Method": "POST"}]);
    let triggers = json!({"HTTP": http, "Cron": [{"Schedule": "0 4 * * 0"}], "Kafka": null});
    assert_eq!(
        told,
        json!({"Triggers": triggers, "Environment": {}, "ReuseSandbox": true})
    );
    assert_eq!(worker.ask("GET /registry/nobody/config", b"").0, 404);

    let code =
        "import os\n\n\ndef f(event):\n    return {name: os.environ[name] for name in event}\n";
    let config = "environment:\n  PORT: 5432\n  URL: \"postgresql://u:p@h/db?a=b#c\"\n  \
                  DEBUG: true\n  EMPTY:\n  TEXT: 'two words'\n";
    worker.install("env", &archive(&[("f.py", code), ("ol.yaml", config)]));
    let answer = worker.post("env", br#"["PORT", "URL", "DEBUG", "EMPTY", "TEXT"]"#);
    let expected = json!({"PORT": "5432", "URL": "postgresql://u:p@h/db?a=b#c", "DEBUG": "true",
        "EMPTY": "", "TEXT": "two words"});
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), expected);

    let config = "reuse-sandbox: false\n";
    worker.install("fresh", &archive(&[("f.py", COUNTER), ("ol.yaml", config)]));
    worker.install("reused", &archive(&[("f.py", COUNTER)]));
    for call in 1..=3 {
        assert_eq!(worker.post("fresh", b"0"), "1");
        assert_eq!(worker.post("reused", b"0"), call.to_string());
    }
    assert_eq!(worker.json("/registry/fresh/config")["ReuseSandbox"], false);
}

#[test]
fn new_code_is_seen_at_once_and_removed_code_never() {
    let worker = Worker::start();
    for version in 0..3 {
        let code = format!("def f(event):\n    return {version}\n");
        worker.install("hi", &archive(&[("f.py", &code)]));
        assert_eq!(worker.post("hi", b"null"), version.to_string());
    }
    let (status, _, body) = worker.ask("DELETE /registry/hi", b"");
    assert_eq!(
        (status, text(&body).as_str()),
        (200, "Lambda hi deleted successfully")
    );
    assert_eq!(worker.run("POST hi", b"null").0, 404);
    assert_eq!(worker.json("/registry/"), json!([]));
    let (status, _, body) = worker.ask("DELETE /registry/hi", b"");
    assert_eq!(
        (status, text(&body).as_str()),
        (404, "lambda hi not found\n")
    );

    // More at once than may be in memory: all come to their turn.
    let uploads = ["a", "b", "c", "d", "e"];
    thread::scope(|scope| {
        for name in uploads {
            let worker = &worker;
            scope.spawn(move || worker.install(name, &archive(&[("f.py", ECHO)])));
        }
    });
    assert_eq!(worker.json("/registry/"), json!(uploads));
}

#[test]
fn the_registry_asks_for_the_token() {
    let worker = Worker::start();
    let code = archive(&[("f.py", ECHO)]);
    worker.install("kept", &code);
    let wrong = "Authorization: Bearer 0000\r\n";
    for line in [
        "GET /registry/",
        "GET /registry",
        "GET /registry/kept/config",
        "POST /registry/other",
        "DELETE /registry/kept",
        "GET /stats",
    ] {
        for token in ["", wrong] {
            let (status, head, _) = request(worker.edge, line, token, &code).unwrap();
            let head = head.to_ascii_lowercase();
            assert_eq!(status, 401, "{line}");
            assert!(
                head.contains("www-authenticate: bearer\r\n"),
                "{line}: {head}"
            );
        }
    }
    // What one with the token was told is not told again.
    worker.json("/registry/");
    assert_eq!(get(worker.edge, "/registry/").0, 401);
    assert_eq!(worker.json("/registry/"), json!(["kept"]));

    // The command line deploys to the same names.
    let folder = worker.directory.path().join("kept");
    fs::create_dir(&folder).unwrap();
    fs::write(
        folder.join("f.py"),
        "def f(event):\n    return 'by another way'\n",
    )
    .unwrap();
    worker.node.ok(&["deploy", path(&folder), "--name", "kept"]);
    assert_eq!(worker.post("kept", b"0"), "\"by another way\"");
    worker.install("kept", &code);
    assert_eq!(worker.post("kept", b"0"), "0");
    let manifest = "name = \"kept\"\nroutes = [{path = \"/registry/kept\"}]\n";
    fs::write(folder.join("fractus.toml"), manifest).unwrap();
    assert!(!worker.node.run(&["deploy", path(&folder)]).status.success());
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_is_not_to_be_deployed_is_not() {
    let worker = Worker::start();
    let refused = |archive: &[u8], expected: u16, why: &str| {
        let (status, told) = worker.refusal("bad", archive);
        assert!(
            told.starts_with("Failed to add lambda: ") && told.contains(why),
            "{told}"
        );
        assert_eq!(status, expected, "{told}");
    };
    refused(b"", 400, "not a whole tar.gz");
    refused(b"no archive", 400, "not a whole tar.gz");
    let whole = archive(&[("f.py", ECHO)]);
    refused(&whole[..whole.len() - 9], 400, "not a whole tar.gz");
    for (kind, name, link, why) in [
        (
            EntryType::Regular,
            "../f.py",
            "",
            "leaves the function's own folder",
        ),
        (
            EntryType::Regular,
            "a/../../f.py",
            "",
            "leaves the function's own folder",
        ),
        (EntryType::Regular, "/f.py", "", "is absolute"),
        (EntryType::Symlink, "f.py", "/etc/passwd", "is a link"),
        (EntryType::Link, "f.py", "/etc/passwd", "is a link"),
        (
            EntryType::Fifo,
            "f.py",
            "",
            "is neither a file nor a folder",
        ),
    ] {
        refused(&archive_with(kind, name, link), 400, why);
    }
    let bomb = bomb();
    assert!(bomb.len() < 1 << 20);
    refused(&bomb, 413, "unpacks to more than");

    let with_config = |config| archive(&[("f.py", ECHO), ("ol.yaml", config)]);
    let kafka = "triggers: {kafka: [{bootstrap_servers: ['h:1'], topics: [t]}]}\n";
    refused(&with_config(kafka), 400, "nothing here reads Kafka");
    refused(
        &with_config("triggers: {http: []}\n"),
        400,
        "no request may call",
    );
    refused(
        &with_config("what: is this\n"),
        400,
        "ol.yaml is not understood",
    );
    let cron = "triggers: {cron: [{schedule: '61 * * * *'}]}\n";
    refused(&with_config(cron), 422, "61 * * * *");
    refused(&archive(&[("README", "")]), 422, "it holds no function");

    assert_eq!(worker.json("/registry/"), json!([]));
    let left = fs::read_dir(worker.directory.path().join("data/artifacts")).unwrap();
    assert_eq!(left.count(), 0, "nothing stays of what was refused");
}

#[test]
fn names_and_sizes_are_looked_at_first() {
    let worker = Worker::start();
    let whole = archive(&[("f.py", ECHO)]);
    let (status, told) = worker.refusal("a%20b", &whole);
    let expected = "invalid function name \"a%20b\"; must match ^[A-Za-z0-9\\.\\-\\_]+$\n";
    assert_eq!((status, told.as_str()), (400, expected));
    assert_eq!(worker.refusal("a.b", &whole).0, 400);
    assert_eq!(worker.refusal("a/b", &whole).0, 400);
    // Refused by what it announces, before any of it is sent.
    let mut stream = TcpStream::connect(worker.edge).unwrap();
    let head = format!(
        "POST /registry/long HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n{}Content-Length: \
         {}\r\n\r\n",
        worker.token,
        (100 << 20) + 1
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert_eq!(worker.json("/registry/"), json!([]));
}
