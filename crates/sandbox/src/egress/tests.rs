use std::sync::Arc;
use std::time::Duration;

use fractus_func::{
    Access, Body, BoxFuture, FunctionName, Host, Limits, LogStream, OutboundError, Report,
    RequestId, RuntimeKind, Tunnel,
};
use http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use super::{Egress, env, text};

fn no_proxy(private_hosts: &[&str], kind: RuntimeKind) -> Option<String> {
    let access = Access {
        hosts: vec!["example.com".to_owned()],
        private_hosts: private_hosts
            .iter()
            .map(|host| (*host).to_owned())
            .collect(),
        ..Access::default()
    };
    let mut env = env(&access, kind).into_iter();
    env.find_map(|(name, value)| (name == "NO_PROXY").then_some(value))
}

#[test]
fn loopback_is_the_sandboxs_unless_it_is_named() {
    let python = RuntimeKind::Python3;
    assert_eq!(no_proxy(&[], python).unwrap(), "127.0.0.1,localhost");
    let others = ["db.lab", "127.0.0.11"];
    assert_eq!(no_proxy(&others, python).unwrap(), "127.0.0.1,localhost");
    assert_eq!(no_proxy(&["localhost:3000"], python).unwrap(), "127.0.0.1");
    let both = ["localhost", "127.0.0.1:80"];
    assert_eq!(no_proxy(&both, python), None);
    assert_eq!(no_proxy(&both, RuntimeKind::Provided).unwrap(), "127.0.0.1");
}

#[test]
fn without_access_the_environment_names_no_proxy() {
    assert!(env(&Access::default(), RuntimeKind::Python3).is_empty());
}

/// Reaches a server of its own by tunnels, and says its name to requests.
#[derive(Debug)]
struct Outside {
    name: FunctionName,
    limits: Limits,
    server: TcpListener,
}

impl Outside {
    async fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.parse().unwrap(),
            limits: Limits::default(),
            server: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        })
    }
}

impl Host for Outside {
    fn name(&self) -> &FunctionName {
        &self.name
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn env(&self) -> &[(String, String)] {
        &[]
    }

    fn send(
        &self,
        _request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, OutboundError>> {
        let answer = Response::new(text(self.name.as_str()));
        Box::pin(async { Ok(answer) })
    }

    fn connect(&self, _authority: &str) -> BoxFuture<'static, Result<Tunnel, OutboundError>> {
        let address = self.server.local_addr().expect("it is bound");
        Box::pin(async move {
            let socket = TcpStream::connect(address).await.expect("it listens");
            Ok(Tunnel {
                socket: socket.into_std().expect("it is a socket").into(),
                place: Box::new(()),
            })
        })
    }

    fn log(&self, _id: RequestId, _stream: LogStream, _line: &str) {}

    fn reserve_memory(&self, _bytes: usize) -> bool {
        true
    }

    fn release_memory(&self, _bytes: usize) {}

    fn finished(&self, _report: Report) {}
}

async fn proxy() -> (Egress, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = listener.into_std().unwrap();
    let egress = Egress::serve(listener.into(), &Handle::current()).unwrap();
    (egress, TcpStream::connect(address).await.unwrap())
}

/// Sends bytes, and takes what comes back in one piece.
async fn say(guest: &mut TcpStream, bytes: &str) -> String {
    guest.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = guest.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn requests_go_out_as_those_of_the_call_that_runs() {
    const GET: &str = "GET http://x.example/ HTTP/1.1\r\n\r\n";
    let (egress, mut guest) = proxy().await;
    let outside = Outside::new("first").await;
    let own = Arc::clone(&outside);
    let first: Arc<dyn Host> = own;
    let second: Arc<dyn Host> = Outside::new("second").await;
    let answer = say(&mut guest, GET).await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("no-call"),
        "{answer}"
    );
    egress.enter(&first);
    assert!(say(&mut guest, GET).await.ends_with("\r\n\r\nfirst"));
    egress.enter(&second);
    assert!(say(&mut guest, GET).await.ends_with("\r\n\r\nsecond"));
    egress.leave();
    assert!(say(&mut guest, GET).await.starts_with("HTTP/1.1 503 "));
    drop(first);
    assert_eq!(
        Arc::strong_count(&outside),
        1,
        "no connection keeps a call that is over"
    );
}

#[tokio::test]
async fn all_ends_with_the_instance() {
    let (egress, mut guest) = proxy().await;
    let outside = Outside::new("outside").await;
    egress.enter(&(Arc::clone(&outside) as Arc<dyn Host>));
    let granted = say(&mut guest, "CONNECT x.example:443 HTTP/1.1\r\n\r\n").await;
    assert_eq!(granted, "HTTP/1.1 200 OK\r\n\r\n");
    let (mut server, _) = outside.server.accept().await.unwrap();
    guest.write_all(b"ping").await.unwrap();
    let mut ping = [0; 4];
    server.read_exact(&mut ping).await.unwrap();
    // A tunnel outlives its call.
    egress.leave();
    server.write_all(b"pong").await.unwrap();
    guest.read_exact(&mut ping).await.unwrap();
    assert_eq!(&ping, b"pong");
    drop(egress);
    let ends = async {
        assert_eq!(guest.read(&mut ping).await.unwrap_or(0), 0);
        assert_eq!(server.read(&mut ping).await.unwrap_or(0), 0);
    };
    tokio::time::timeout(Duration::from_secs(10), ends)
        .await
        .unwrap();
}
