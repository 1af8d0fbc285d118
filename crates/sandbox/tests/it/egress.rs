//! The way out: a proxy inside of the sandbox, and behind it the node's word on each request.

use serde_json::json;

use crate::support::{Bench, Function};

const CODE: &str = r#"
import urllib.error, urllib.request

def get(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return [answer.status, answer.read().decode()]
    except urllib.error.HTTPError as error:
        return [error.code]
    except OSError as error:
        return [type(error).__name__]

def tunnel(authority):
    with socket.create_connection(("127.0.0.1", 3128), 2) as s:
        s.sendall(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (authority, authority)).encode())
        status = int(s.recv(1000).split()[1])
        if status != 200:
            return [status]
        s.sendall(b"hello")
        return [status, s.recv(100).decode()]
"#;

fn function(bench: &std::sync::Arc<Bench>) -> Function {
    bench.probe(|manifest| {
        manifest.access.hosts = vec!["allowed.example".to_owned(), "echo.example:7".to_owned()];
    })
}

#[tokio::test]
async fn what_the_node_allows_is_reached_and_nothing_else() {
    let bench = Bench::shared();
    let open = function(&bench);
    let code = format!(
        "{CODE}
answer = [get('http://allowed.example/x'), get('http://other.example/'), get('http://127.0.0.1:1/'),
          tunnel('echo.example:7'), tunnel('127.0.0.1:22'), tunnel('other.example:443')]"
    );
    for _ in 0..2 {
        let told = open.python(&code).await.unwrap();
        assert_eq!(told[0], json!([200, "from outside"]), "{told}");
        assert_eq!(told[3], json!([200, "hello"]), "{told}");
        for refused in [1, 2, 4, 5] {
            assert!(
                !told[refused].as_array().unwrap().contains(&json!(200)),
                "{told}"
            );
        }
    }
}

#[tokio::test]
async fn who_may_reach_nothing_has_no_way_out() {
    let bench = Bench::shared();
    let open = function(&bench);
    open.python("answer = 1").await.unwrap();
    let closed = bench.probe(|_| {});
    let code = format!(
        "{CODE}
ports = [attempt(socket.create_connection, ('127.0.0.1', port), 1) for port in (3128, 9001)]
env = [name for name in os.environ if 'proxy' in name.lower()]
answer = [get('http://allowed.example/'), ports, env]"
    );
    let told = closed.python(&code).await.unwrap();
    assert_eq!(told[0], json!(["URLError"]), "{told}");
    assert_eq!(told[1], json!(["ECONNREFUSED", "ECONNREFUSED"]));
    assert_eq!(told[2], json!([]));
}

#[tokio::test]
async fn nothing_leaves_between_calls() {
    let bench = Bench::shared();
    let open = function(&bench);
    let code = format!(
        "{CODE}
def later():
    time.sleep(0.05)
    at = time.time()
    open('/tmp/got', 'w').write(repr([at, get('http://allowed.example/')]))
threading.Thread(target=later).start()
answer = 1"
    );
    open.python(&code).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    // If the machine is so busy that it was not tried meanwhile, there is nothing to see.
    let look = "
began = time.time()
at, got = eval(attempt(read, '/tmp/got')) if os.path.exists('/tmp/got') else (began, None)
answer = got if at < began - 0.05 else None";
    let told = open.python(look).await.unwrap();
    assert!(!told.to_string().contains("from outside"), "{told}");
}
