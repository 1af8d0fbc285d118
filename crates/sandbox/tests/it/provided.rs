//! Programs that speak the Runtime API, well or not.

use std::sync::OnceLock;
use std::time::Duration;

use fractus_func::{BodyError, Manifest, Outcome, Payload};
use serde_json::{Value, json};

use crate::kinds::{came_in_parts, pieces, whole};
use crate::support::{Bench, Function, body, is_root, named, open_files, resident_kib};

/// The interpreter, as it is seen inside too.
fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let ask = "import os, sys; print(os.path.realpath(sys.executable))";
        let told = std::process::Command::new("python3")
            .args(["-c", ask])
            .output()
            .unwrap();
        String::from_utf8(told.stdout).unwrap().trim().to_owned()
    })
}

/// A program that begins like this and then takes calls.
fn program(begin: &str, change: impl FnOnce(&mut Manifest)) -> Function {
    let text = include_str!("support/bootstrap.py");
    let text = format!("#!{} -IS\n{text}\n{begin}\nmain()\n", python());
    Bench::shared().function(&[("bootstrap", &text)], |manifest| {
        manifest.payload = Some(Payload::Raw);
        manifest.limits.timeout_s = 1.0;
        change(manifest);
    })
}

fn plain() -> Function {
    program("", |_| {})
}

#[tokio::test]
async fn a_program_gets_calls_and_answers_them() {
    let function = plain();
    for calls in 1..5 {
        let told = function.python("answer = [CALLS, headers]").await.unwrap();
        assert_eq!(told[0], calls);
        let report = function.report().await;
        assert_eq!(
            told[1]["lambda-runtime-aws-request-id"],
            report.id.to_string()
        );
        let arn = told[1]["lambda-runtime-invoked-function-arn"]
            .as_str()
            .unwrap();
        assert!(arn.starts_with("arn:aws:lambda:"), "{arn}");
        let deadline: u64 = told[1]["lambda-runtime-deadline-ms"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!(deadline > 1_700_000_000_000, "{told}");
        assert_eq!(report.load_us > 0, calls == 1, "{report:?}");
    }
}

#[tokio::test]
async fn a_shell_script_will_do() {
    let script = r#"#!/bin/bash
exec 4<>/dev/tcp/${AWS_LAMBDA_RUNTIME_API/://}
while true; do
  printf 'GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n' >&4
  while IFS= read -r -u4 line; do line=${line%$'\r'}; [ -z "$line" ] && break
    case "${line,,}" in lambda-runtime-aws-request-id:*) id=${line#*: };; content-length:*) len=${line#*: };; esac; done
  read -r -u4 -N $len body
  echo "got it"
  printf 'POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' $id ${#body} "$body" >&4
  while IFS= read -r -u4 line; do line=${line%$'\r'}; [ -z "$line" ] && break
    case "${line,,}" in content-length:*) len=${line#*: };; esac; done
  [ $len -gt 0 ] && read -r -u4 -N $len rest
done
"#;
    let function = Bench::shared().function(&[("bootstrap", script)], |manifest| {
        manifest.payload = Some(Payload::Raw);
    });
    for number in 0..3 {
        assert_eq!(
            function.event(&json!({"n": number})).await.unwrap(),
            json!({"n": number})
        );
    }
    let logged = function.logged().await;
    assert_eq!(
        logged.iter().filter(|(_, line)| line == "got it").count(),
        3,
        "{logged:?}"
    );
}

#[tokio::test]
async fn it_reports_errors_of_calls_and_of_its_start() {
    let _kept = Bench::shared();
    let function = plain();
    let code = r#"
report = json.dumps({"errorType": "MyError", "errorMessage": "so it is", "stackTrace": ["a"]})
kind = ("Lambda-Runtime-Function-Error-Type", "Other.Type")
api.ask("POST", "invocation/%s/error" % request_id, (kind,), report.encode())
"#;
    let error = function.python(code).await.unwrap_err();
    assert_eq!(error.outcome, Outcome::GuestError);
    assert_eq!(named(&error), ("MyError", "so it is"));
    assert_eq!(function.python("answer = CALLS").await.unwrap(), 2);
    let begin = r#"
report = json.dumps({"errorType": "Extension.Broken", "errorMessage": "no start"})
Connection().ask("POST", "init/error", (), report.encode())
sys.exit(1)
"#;
    let error = program(begin, |_| {})
        .python("answer = 1")
        .await
        .unwrap_err();
    assert_eq!(error.outcome, Outcome::InitFailed);
    assert_eq!(named(&error), ("Extension.Broken", "no start"));
    let error = program("sys.exit(9)", |_| {})
        .python("answer = 1")
        .await
        .unwrap_err();
    assert_eq!(
        (error.outcome, named(&error).0),
        (Outcome::InitFailed, "Runtime.ExitError")
    );
    assert!(error.message.ends_with("exit status 9"), "{error:?}");
}

#[tokio::test]
async fn an_answer_for_another_call_is_refused_and_so_is_a_second_one() {
    let function = plain();
    let code = r#"
other = "00000000-0000-4000-8000-0000deadbeef"
wrong = [api.answer(other, "wrong"), api.answer("no-id", "wrong"), api.answer("", "wrong"),
         api.ask("POST", "invocation/%s/error" % other, (), b"{}")[0]]
right = api.answer(request_id, [CALLS, wrong])
again = api.answer(request_id, "again")
open("/tmp/told", "w").write(json.dumps([right, again]))
"#;
    let told = function.python(code).await.unwrap();
    assert_eq!(told[0], 1);
    for status in told[1].as_array().unwrap() {
        assert!((400..500).contains(&status.as_u64().unwrap()), "{told}");
    }
    let told = function
        .python("answer = [CALLS, json.load(open('/tmp/told'))]")
        .await
        .unwrap();
    assert_eq!((&told[0], &told[1][0]), (&json!(2), &json!(202)));
    assert!((400..500).contains(&told[1][1].as_u64().unwrap()), "{told}");
    // One for the call before, while the next is there.
    let keep = "open('/tmp/id', 'w').write(request_id); answer = 1";
    function.python(keep).await.unwrap();
    let code = "late = api.answer(open('/tmp/id').read(), 'late'); answer = late";
    let status = function.python(code).await.unwrap().as_u64().unwrap();
    assert!((400..500).contains(&status), "{status}");
}

const STREAM: &str = r#"
def stream(api, request_id, kind, prelude=b""):
    api.send("POST", "invocation/%s/response" % request_id, (
        ("Lambda-Runtime-Function-Response-Mode", "streaming"), ("Transfer-Encoding", "chunked"),
        ("Trailer", "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"),
        ("Content-Type", kind)))
    chunk(api, prelude)

def chunk(api, data):
    if data:
        api.socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))
"#;

async fn streamed(function: &Function, code: &str) -> http::Response<fractus_func::Body> {
    let event = json!({"code": format!("{STREAM}{code}")}).to_string();
    let request = http::Request::post("http://f.localhost/")
        .body(body(event))
        .unwrap();
    function.send(request).await.unwrap()
}

#[tokio::test]
async fn it_streams_answers() {
    let function = plain();
    let ticks = "
for _ in range(4):
    chunk(api, b'tick ')
    time.sleep(0.1)
api.socket.sendall(b'0\\r\\n\\r\\n')
api.hear()
";
    let response = streamed(
        &function,
        &format!("stream(api, request_id, 'text/x-ticks'){ticks}"),
    )
    .await;
    assert_eq!(response.headers()["content-type"], "text/x-ticks");
    let (told, error) = pieces(response).await;
    assert_eq!(
        (whole(&told).as_str(), error),
        ("tick tick tick tick ", None)
    );
    assert!(came_in_parts(&told), "{told:?}");
    let head = r#"
prelude = json.dumps({"statusCode": 207, "headers": {"x-a": "b"}, "cookies": ["c=d"]}).encode()
kind = "application/vnd.awslambda.http-integration-response"
stream(api, request_id, kind, prelude + b"\0" * 8)"#;
    let response = streamed(&function, &format!("{head}{ticks}")).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-a"]),
        (207, &"b".parse().unwrap())
    );
    assert_eq!(whole(&pieces(response).await.0), "tick tick tick tick ");
    assert_eq!(function.python("answer = CALLS").await.unwrap(), 3);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_no_whole_answer() {
    let _kept = Bench::shared();
    let ends = [
        "api.socket.sendall(b'0\\r\\nLambda-Runtime-Function-Error-Type: Mid.Way\\r\\n\\r\\n'); api.hear()",
        "api.socket.close(); api.file.close(); api = Connection()",
        "os._exit(3)",
        "time.sleep(30)",
        "api.socket.sendall(b'nonsense\\r\\n'); api.hear(); api = Connection()",
    ];
    for end in ends {
        let function = plain();
        let code =
            format!("stream(api, request_id, 'text/plain', b'first')\ntime.sleep(0.05)\n{end}");
        let (told, error) = pieces(streamed(&function, &code).await).await;
        assert_eq!(whole(&told), "first", "{end}");
        assert!(
            matches!(error, Some(BodyError::Guest(_))),
            "{end}: {error:?}"
        );
        assert_ne!(function.report().await.outcome, Outcome::Ok, "{end}");
        let calls = function.python("answer = CALLS").await.unwrap();
        assert!(calls == 1 || calls == 2, "{calls}");
    }
}

#[tokio::test]
async fn it_may_lose_its_connection_or_its_life() {
    let function = plain();
    let code = "api.socket.close(); api.file.close(); api = Connection(); answer = 'on another'";
    assert_eq!(function.python(code).await.unwrap(), "on another");
    assert_eq!(function.python("answer = CALLS").await.unwrap(), 2);
    for (code, message) in [
        ("os._exit(4)", "exit status 4"),
        ("os.kill(os.getpid(), 9)", "signal: killed"),
        ("os.kill(os.getpid(), 11)", "signal: segmentation fault"),
        ("os.abort()", "signal: aborted"),
    ] {
        let error = function.python(code).await.unwrap_err();
        assert_eq!(
            (error.outcome, named(&error).0),
            (Outcome::Exited, "Runtime.ExitError")
        );
        assert!(error.message.ends_with(message), "{code}: {error:?}");
        assert_eq!(function.python("answer = CALLS").await.unwrap(), 1);
    }
    for code in [
        "time.sleep(30)",
        "os.kill(os.getpid(), 19)",
        "api.socket.close(); time.sleep(30)",
    ] {
        let error = function.python(code).await.unwrap_err();
        assert_eq!(
            (error.outcome, named(&error).0),
            (Outcome::Timeout, "Sandbox.Timedout")
        );
        assert_eq!(function.python("answer = CALLS").await.unwrap(), 1);
    }
}

#[tokio::test]
async fn its_first_process_reaps_and_cannot_be_killed() {
    let code = r#"
import signal
for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGSEGV, signal.SIGINT):
    os.kill(1, number)
for _ in range(20):
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()
time.sleep(0.1)
answer = [os.getpid(), sorted(map(int, filter(str.isdigit, os.listdir("/proc"))))]
"#;
    let function = plain();
    assert_eq!(function.python(code).await.unwrap(), json!([2, [1, 2]]));
    assert_eq!(function.python("answer = CALLS").await.unwrap(), 2);
}

#[tokio::test]
async fn it_is_confined_as_well() {
    let code = r#"
def look(pid):
    lines = open("/proc/%d/status" % pid).read().splitlines()
    lines = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return " ".join(lines[name] for name in (
        "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"))

def refused(call, *arguments):
    try:
        call(*arguments)
        return "done"
    except OSError as error:
        return error.errno

answer = {
    "look": [look(1), look(2)], "uid": os.getuid(), "root": os.listdir("/"),
    "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd") if int(fd) != api.socket.fileno()),
    "writes": [refused(open, path, "w") for path in ("/x", "/var/task/x", "/etc/x", "/bin/x", "/tmp/x")],
    "kinds": {kind: os.readlink("/proc/self/ns/" + kind) for kind in os.listdir("/proc/self/ns")},
}
"#;
    let told = plain().python(code).await.unwrap();
    let none = "0000000000000000";
    let confined = json!(format!("{none} {none} {none} {none} {none} 1 2"));
    assert_eq!(told["look"], json!([confined, confined]));
    if is_root() {
        assert_eq!(told["uid"], 993);
    }
    // The last is that of the folder itself.
    assert_eq!(
        told["fds"].as_array().unwrap()[..3],
        [json!(0), json!(1), json!(2)]
    );
    assert!(told["fds"].as_array().unwrap().len() <= 4, "{told}");
    let read_only = json!(libc::EROFS);
    assert_eq!(
        told["writes"].as_array().unwrap()[..4],
        [(); 4].map(|()| read_only.clone())
    );
    assert_eq!(told["writes"][4], "done");
    for kind in ["user", "pid", "net", "mnt", "ipc", "uts", "cgroup"] {
        let here = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert_ne!(told["kinds"][kind], here.to_str().unwrap(), "{kind}");
    }
}

#[tokio::test]
async fn more_connections_than_anyone_needs_are_not_kept() {
    let code = r#"
made = []
end = time.time() + 1
while len(made) < 900 and time.time() < end:
    try:
        made.append(socket.create_connection((HOST, int(PORT)), 0.05))
    except OSError:
        pass
for each in made[:50]:
    try:
        each.sendall(b"POST " + b"x" * 100_000)
    except OSError:
        pass
time.sleep(0.3)
answer = len(made)
"#;
    let function = program("", |manifest| manifest.limits.timeout_s = 5.0);
    function.python("answer = 1").await.unwrap();
    let before = open_files();
    let mut most = 0;
    let mut call = std::pin::pin!(function.python(code));
    let told = loop {
        tokio::select! {
            told = &mut call => break told.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(20)) => most = most.max(open_files()),
        }
    };
    assert!(told.as_u64().unwrap() > 100, "{told}");
    assert!(
        most < before + 300,
        "the node had {most} descriptors, {before} before"
    );
    assert_eq!(function.python("answer = CALLS").await.unwrap(), 3);
}

#[tokio::test]
async fn what_is_no_request_disturbs_nothing() {
    let code = r#"
def tell(data):
    with socket.create_connection((HOST, int(PORT)), 1) as s:
        try:
            s.sendall(data)
            return s.recv(100).decode("latin-1").split("\r\n")[0]
        except OSError:
            return ""

path = b"POST " + BASE.encode() + b"invocation/" + request_id.encode() + b"/response HTTP/1.1\r\n"
answer = [tell(data) for data in (
    b"\0" * 1000, b"GET / HTTP/1.1\r\n\r\n", b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    b"A" * 3_000_000, path + b"Content-Length: -1\r\n\r\n",
    path + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    path + b"X: " + b"y" * 3_000_000 + b"\r\n\r\n",
    path + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff0\r\n")]
"#;
    let function = program("", |manifest| manifest.limits.timeout_s = 5.0);
    let before = resident_kib();
    let told = function.python(code).await.unwrap();
    for line in told.as_array().unwrap() {
        assert!(!line.as_str().unwrap().contains(" 2"), "{told}");
    }
    assert!(resident_kib() < before + (64 << 10));
    assert_eq!(function.python("answer = CALLS").await.unwrap(), 2);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused() {
    let function = program("", |manifest| manifest.limits.response_mb = 1);
    let code = "
status = api.answer(request_id, 'x' * (2 << 20))
open('/tmp/status', 'w').write(str(status))";
    let error = function.python(code).await.unwrap_err();
    assert!(
        [Outcome::ResponseTooLarge, Outcome::GuestError].contains(&error.outcome),
        "{error:?}"
    );
    assert_eq!(named(&error).0, "Function.ResponseSizeTooLarge");
    let told = function
        .python("answer = open('/tmp/status').read()")
        .await
        .unwrap();
    assert_eq!(told, "413");
}

#[tokio::test]
async fn a_large_environment_arrives_whole() {
    let large = |manifest: &mut Manifest| {
        manifest.payload = Some(Payload::Raw);
        let long = |number| (format!("LONG_{number}"), "v".repeat(1000));
        manifest.env.extend((0..28).map(long));
    };
    let code = "answer = sum(len(v) for k, v in os.environ.items() if k.startswith('LONG_'))";
    assert_eq!(program("", large).python(code).await.unwrap(), 28_000);
    let bench = Bench::shared();
    assert_eq!(bench.probe(large).python(code).await.unwrap(), 28_000);
    let script = "exports.handler = async () => Object.entries(process.env)
        .filter(([k]) => k.startsWith('LONG_')).map(([, v]) => v.length).reduce((a, b) => a + b)";
    let node = bench.function(&[("index.js", script)], large);
    assert_eq!(node.event(&Value::Null).await.unwrap(), 28_000);
}

#[tokio::test]
async fn a_bootstrap_that_cannot_be_run_says_so() {
    let _kept = Bench::shared();
    for text in ["#!/no/such/interpreter\n", "no program at all", ""] {
        let function = Bench::shared().function(&[("bootstrap", text)], |_| {});
        let error = function.event(&Value::Null).await.unwrap_err();
        assert_eq!(error.outcome, Outcome::InitFailed, "{text:?}: {error:?}");
        assert_eq!(named(&error).0, "Runtime.InvalidEntrypoint", "{error:?}");
    }
}
