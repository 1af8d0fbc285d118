//! How instances come and go: reuse, freezing, eviction, failures, provision, bursts.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fractus_func::{Instances, Outcome};
use serde_json::Value;

use crate::support::{
    Bench, Function, are_there_groups, body, descendants, group_count, idle, mount_count, named,
    open_files, processes,
};

fn token(told: &Value) -> String {
    told.as_str().unwrap().to_owned()
}

async fn token_of(function: &Function) -> String {
    token(&function.python("answer = TOKEN").await.unwrap())
}

#[tokio::test]
async fn an_instance_is_used_again_warm() {
    let probe = Bench::shared().probe(|_| {});
    let first = token_of(&probe).await;
    let report = probe.report().await;
    assert_eq!(report.outcome, Outcome::Ok);
    assert!(report.load_us > 0, "the first call is cold: {report:?}");
    for _ in 0..5 {
        assert_eq!(token_of(&probe).await, first);
    }
    for report in probe.reports().await {
        assert_eq!(report.load_us, 0, "the others are warm: {report:?}");
        assert!(
            report.start_us < 20_000 && report.queue_us == 3,
            "{report:?}"
        );
    }
}

#[tokio::test]
async fn what_waits_is_frozen_and_thaws_for_the_next_call() {
    let bench = Bench::new();
    let probe = bench.probe(|_| {});
    let beats = "
def beat():
    while True:
        open('/tmp/beats', 'a').write('x')
        time.sleep(0.005)
threading.Thread(target=beat, daemon=True).start()
answer = TOKEN";
    let first = token(&probe.python(beats).await.unwrap());
    assert_eq!(bench.runtime.standing().idle.0, 1);
    if !are_there_groups(&bench.name) {
        return;
    }
    bench
        .until("it is frozen", |bench| {
            bench.runtime.standing().idle == (1, 1)
        })
        .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let told = probe
        .python("answer = [TOKEN, os.path.getsize('/tmp/beats')]")
        .await
        .unwrap();
    assert_eq!(told[0], first.as_str());
    // It went on for the 200 ms before it was frozen, and for the moment of this call.
    let beats = told[1].as_u64().unwrap();
    assert!((1..100).contains(&beats), "{beats}");
    // A frozen one is killed as well as any.
    bench
        .until("it is frozen", |bench| {
            bench.runtime.standing().idle == (1, 1)
        })
        .await;
    drop(probe);
    assert_eq!(bench.runtime.standing().idle, (0, 0));
}

#[tokio::test]
async fn an_instance_goes_after_its_idle_time() {
    let bench = Bench::new();
    let probe = bench.probe(|manifest| manifest.instances = idle(1));
    let first = token_of(&probe).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(token_of(&probe).await, first, "it was used meanwhile");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(bench.runtime.standing().idle.0, 1);
    bench
        .until("it is gone", |bench| bench.runtime.standing().idle.0 == 0)
        .await;
    assert_ne!(token_of(&probe).await, first);
}

#[tokio::test]
async fn without_idle_time_each_call_has_a_fresh_instance() {
    let bench = Bench::new();
    let probe = bench.probe(|manifest| manifest.instances = idle(0));
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        assert!(seen.insert(token_of(&probe).await));
        assert_eq!(bench.runtime.standing().idle.0, 0);
    }
}

/// What is done, how the call ends then, and what the error is called and says.
type Failure = (&'static str, Outcome, &'static str, &'static str);

#[rustfmt::skip]
const FAILURES: &[Failure] = &[
    ("os._exit(3)", Outcome::Exited, "Runtime.ExitError",
     "Error: Runtime exited with error: exit status 3"),
    ("os._exit(0)", Outcome::Exited, "Runtime.ExitError",
     "Error: Runtime exited without providing a reason"),
    ("sys.exit(4)", Outcome::Exited, "Runtime.ExitError", "exit status 4"),
    ("ctypes.string_at(0)", Outcome::Exited, "Runtime.ExitError", "signal: segmentation fault"),
    ("os.abort()", Outcome::Exited, "Runtime.ExitError", "exited with error: signal: "),
    ("kept = [bytearray(b'x' * (1 << 20)) for _ in range(1000)]", Outcome::MemoryLimit,
     "Runtime.OutOfMemory", "Error: Runtime exited with error: signal: killed"),
    ("time.sleep(9)", Outcome::Timeout, "Sandbox.Timedout",
     "Error: Task timed out after 0.80 seconds"),
    ("os.execv('/nothing', ['x'])", Outcome::GuestError, "FileNotFoundError", "No such file"),
    ("raise KeyError('k')", Outcome::GuestError, "KeyError", "'k'"),
    ("answer = {1, 2}", Outcome::GuestError, "Runtime.MarshalError", "set is not JSON serializable"),
];

#[tokio::test]
async fn each_failure_has_its_name_and_the_next_call_a_fresh_instance() {
    let bench = Bench::shared();
    let groups = are_there_groups(&bench.name);
    for (code, outcome, kind, message) in FAILURES {
        if *outcome == Outcome::MemoryLimit && !groups {
            continue;
        }
        let probe = bench.probe_for(0.8);
        let error = probe.python(code).await.unwrap_err();
        let seen = (error.outcome, named(&error).0);
        assert_eq!(seen, (*outcome, *kind), "{code}: {error:?}");
        assert!(error.message.contains(message), "{code}: {error:?}");
        assert_eq!(probe.report().await.outcome, *outcome, "{code}");
        let calls = probe.python("answer = CALLS").await.unwrap();
        let lives_on = *outcome == Outcome::GuestError;
        assert_eq!(calls, 1 + u64::from(lives_on), "{code}");
    }
}

/// A module, the handler, and what the error is called and says.
type BadStart = (&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const BAD_STARTS: &[BadStart] = &[
    ("import absent", "app.handler", "Runtime.ImportModuleError",
     "Unable to import module 'app': No module named 'absent'"),
    ("def other(): pass", "app.handler", "Runtime.HandlerNotFound",
     "Handler 'handler' missing on module 'app'"),
    ("", "absent.handler", "Runtime.ImportModuleError", "No module named 'absent'"),
    ("", "handler", "Runtime.MalformedHandlerName", "Bad handler 'handler'"),
    ("def handler(:", "app.handler", "Runtime.UserCodeSyntaxError", "Syntax error in module 'app'"),
    ("raise ValueError('at start')", "app.handler", "ValueError", "at start"),
    ("import os; os._exit(5)", "app.handler", "Runtime.ExitError", "exit status 5"),
    ("x = [bytearray(b'x' * (1 << 20)) for _ in range(1000)]", "app.handler",
     "Runtime.OutOfMemory", "signal: killed"),
];

#[tokio::test]
async fn a_start_that_fails_says_why() {
    let bench = Bench::shared();
    let groups = are_there_groups(&bench.name);
    for (text, handler, kind, message) in BAD_STARTS {
        if *kind == "Runtime.OutOfMemory" && !groups {
            continue;
        }
        let function = bench.function(&[("app.py", text)], |manifest| {
            manifest.handler = Some((*handler).to_owned());
        });
        let error = function.event(&Value::Null).await.unwrap_err();
        assert_eq!(named(&error).0, *kind, "{error:?}");
        assert!(error.message.contains(message), "{error:?}");
        let outcomes = [Outcome::InitFailed, Outcome::MemoryLimit];
        assert!(outcomes.contains(&error.outcome), "{error:?}");
        assert_eq!(function.report().await.outcome, error.outcome);
    }
}

#[tokio::test]
async fn a_burst_starts_all_that_it_needs_at_once() {
    let bench = Bench::new();
    let probe = bench.probe(|_| {});
    let code = "time.sleep(0.5); answer = TOKEN";
    let began = Instant::now();
    let calls: Vec<_> = (0..50).map(|_| probe.python(code)).collect();
    let mut tokens = BTreeSet::new();
    for call in join_all(calls).await {
        assert!(
            tokens.insert(token(&call.unwrap())),
            "each has an instance of its own"
        );
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    // All of them wait now.
    assert!(
        bench.runtime.standing().idle.0 >= 50,
        "{:?}",
        bench.runtime.standing()
    );
    let calls: Vec<_> = (0..50).map(|_| probe.python(code)).collect();
    let warm = join_all(calls)
        .await
        .into_iter()
        .map(|told| token(&told.unwrap()));
    let known = warm.filter(|token| tokens.contains(token)).count();
    assert!(known >= 45, "{known} of 50 were used again");
}

/// Awaits all, on this thread.
pub(crate) async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in &mut waiting {
            if output.is_none()
                && let std::task::Poll::Ready(done) = future.as_mut().poll(cx)
            {
                *output = Some(done);
            }
        }
        if waiting.iter().all(|(_, output)| output.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    waiting
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}

#[tokio::test]
async fn provisioned_instances_are_there_before_any_call() {
    let bench = Bench::new();
    let probe = bench.probe(|manifest| {
        manifest.instances = Instances {
            provisioned: 3,
            idle_s: 1,
        };
    });
    bench
        .until("three are there", |bench| {
            bench.runtime.standing().idle.0 == 3
        })
        .await;
    let first = token_of(&probe).await;
    assert_eq!(probe.report().await.load_us, 0, "it was warm");
    // One that dies is made anew, and they outlast the idle time.
    probe.python("os._exit(1)").await.unwrap_err();
    bench
        .until("three are there", |bench| {
            bench.runtime.standing().idle.0 == 3
        })
        .await;
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(bench.runtime.standing().idle.0, 3);
    assert_ne!(token_of(&probe).await, first);
}

#[tokio::test]
async fn what_it_prints_before_a_call_is_logged_with_the_next() {
    let bench = Bench::shared();
    let app = "print('while it starts')\ndef handler(event, context): return 1";
    let function = bench.function(&[("app.py", app)], |manifest| {
        manifest.instances.provisioned = 1;
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    function.event(&Value::Null).await.unwrap();
    let logged = function.logged().await;
    assert!(
        logged.iter().any(|(_, line)| line == "while it starts"),
        "{logged:?}"
    );
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_ends() {
    let bench = Bench::new();
    let probe = bench.probe_for(60.0);
    probe.python("answer = 1").await.unwrap();
    probe.reports().await;
    let call = probe.python("while True: pass");
    let left = tokio::time::timeout(Duration::from_millis(300), call).await;
    assert!(left.is_err());
    assert_eq!(probe.report().await.outcome, Outcome::Cancelled);
    assert_eq!(bench.runtime.standing().idle.0, 0);
    assert_eq!(probe.python("answer = CALLS").await.unwrap(), 1);
}

#[tokio::test]
async fn a_function_that_is_dropped_takes_its_instances_along() {
    let bench = Bench::new();
    let stays = bench.probe(|_| {});
    stays.python("answer = 1").await.unwrap();
    bench
        .until("spares are there", |bench| bench.account.taken() > 0)
        .await;
    let taken = bench.account.taken();
    let probe = bench.probe(|_| {});
    let calls = (0..4).map(|_| probe.python("time.sleep(0.1)")).collect();
    join_all(calls)
        .await
        .into_iter()
        .for_each(|told| drop(told.unwrap()));
    bench
        .until("they wait", |bench| bench.runtime.standing().idle.0 >= 5)
        .await;
    drop(probe);
    assert_eq!(bench.runtime.standing().idle.0, 1);
    bench
        .until("memory is given back", |bench| {
            bench.account.taken() <= taken
        })
        .await;
    assert_eq!(stays.python("answer = CALLS").await.unwrap(), 2);
}

#[tokio::test]
async fn a_runtime_that_is_dropped_leaves_nothing() {
    let bench = Bench::new();
    let (name, account) = (bench.name.clone(), std::sync::Arc::clone(&bench.account));
    let mounts = mount_count();
    let probe = bench.probe(|_| {});
    let calls = (0..3).map(|_| probe.python("time.sleep(0.1)")).collect();
    join_all(calls)
        .await
        .into_iter()
        .for_each(|told| drop(told.unwrap()));
    let node = bench.function(&[("index.js", "exports.handler = async () => 1")], |_| {});
    let response = node.send(
        http::Request::get("http://f.localhost/")
            .body(body(""))
            .unwrap(),
    );
    assert_eq!(response.await.unwrap().status(), 200);
    if are_there_groups(&name) {
        bench
            .until("they are frozen", |bench| {
                bench.runtime.standing().idle.1 >= 4
            })
            .await;
        assert!(processes(&name).len() >= 4);
    }
    // A call under way ends with it.
    let long = probe.python("time.sleep(30)");
    tokio::time::timeout(Duration::from_millis(200), long)
        .await
        .unwrap_err();
    let before = descendants(std::process::id());
    let folder = bench.path().to_owned();
    drop((probe, node, bench));
    let deadline = Instant::now() + Duration::from_secs(5);
    let ours = |seen: &&crate::support::Seen| {
        let own = std::fs::read_to_string(format!("/proc/{}/cgroup", seen.pid)).unwrap_or_default();
        own.contains(&format!("/{name}/"))
    };
    while before.iter().filter(ours).any(|seen| seen.is_there()) {
        assert!(Instant::now() < deadline, "a process is left");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(processes(&name), []);
    assert!(!are_there_groups(&name), "a control group is left");
    assert_eq!(account.taken(), 0);
    assert!(!folder.exists());
    assert_eq!(mount_count(), mounts);
}

#[tokio::test]
async fn many_instances_leave_no_descriptors_and_no_groups() {
    let bench = Bench::new();
    let kinds = [
        bench.probe(|manifest| manifest.instances = idle(0)),
        bench.function(&[("bootstrap", "#!/bin/sh\nexit 3\n")], |manifest| {
            manifest.instances = idle(0);
        }),
    ];
    let cycle = async |times: usize| {
        for _ in 0..times {
            kinds[0].python("answer = 1").await.unwrap();
            kinds[1].event(&Value::Null).await.unwrap_err();
        }
        // What was killed is reaped in the background.
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    cycle(20).await;
    let (files, processes) = (open_files(), descendants(std::process::id()).len());
    cycle(60).await;
    // Other tests open files meanwhile, but not for long as many as these instances had.
    let deadline = Instant::now() + Duration::from_secs(20);
    while open_files() >= files + 100 {
        assert!(Instant::now() < deadline, "{files} {}", open_files());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(descendants(std::process::id()).len() < processes + 60);
    let groups = group_count(&bench.name);
    assert!(groups < 40, "{groups}");
}

#[tokio::test]
async fn an_instance_gets_nothing_of_what_its_group_had_before() {
    let bench = Bench::new();
    let large = bench.probe(|manifest| {
        manifest.limits.memory_mb = 1024;
        manifest.instances = idle(0);
    });
    let small = bench.probe(|manifest| {
        manifest.limits.memory_mb = 64;
        manifest.instances = idle(0);
    });
    let fill = "open('/tmp/x', 'wb').write(b'x' * (300 << 20)); answer = 1";
    for _ in 0..8 {
        large.python(fill).await.unwrap();
        for _ in 0..3 {
            small.python("answer = 1").await.unwrap();
            let report = small.report().await;
            assert!(report.peak_memory < 40 << 20, "{report:?}");
            assert!(report.cpu_us < 500_000, "{report:?}");
        }
    }
}

#[tokio::test]
async fn who_leaves_in_the_middle_of_an_answer_ends_it() {
    let bench = Bench::new();
    let text = "
import time
def app(environ, start_response):
    start_response('200 OK', [])
    while True:
        yield b'tick'
        time.sleep(0.02)";
    let function = bench.function(&[("app.py", text)], |manifest| {
        manifest.limits.timeout_s = 1.0;
    });
    let response = function.get("/").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(response);
    assert_eq!(function.report().await.outcome, Outcome::Cancelled);
    assert_eq!(bench.runtime.standing().idle.0, 0);
    // And who stays until the deadline hears of it.
    let response = function.get("/").await.unwrap();
    let error = http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap_err();
    assert_eq!(error, fractus_func::BodyError::Guest(Outcome::Timeout));
    assert_eq!(function.report().await.outcome, Outcome::Timeout);
    assert_eq!(bench.runtime.standing().idle.0, 0);
}
