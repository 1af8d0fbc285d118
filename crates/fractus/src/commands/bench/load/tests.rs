use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Plan, run};

fn plan(address: SocketAddr, concurrency: u32, duration: Duration) -> Plan {
    Plan {
        address,
        path: "/run/x".to_owned(),
        body: Bytes::from_static(b"{}"),
        concurrency,
        duration,
        patience: Duration::from_secs(10),
    }
}

/// A server whose answers `answer` makes: from the connection's number and the request's.
async fn server(answer: fn(u64, u64) -> Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let connections = Arc::new(AtomicU64::new(0));
        while let Ok((stream, _)) = listener.accept().await {
            let number = connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(stream, number, answer));
        }
    });
    address
}

async fn serve(mut stream: TcpStream, number: u64, answer: fn(u64, u64) -> Option<&'static str>) {
    let mut request = [0; 4096];
    for count in 0.. {
        // The requests here are short enough to arrive in one piece.
        if stream.read(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
        match answer(number, count) {
            Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
            None => return,
        }
    }
}

const A: &str = "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"instance\":\"a\"}";
const B: &str = "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"instance\":\"b\"}";
const BUSY: &str = "HTTP/1.1 429 No\r\nx-fractus-error: throttled\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn instances_and_connections_are_told_apart() {
    let address = server(|number, _| Some(if number % 2 == 0 { A } else { B })).await;
    let plan = plan(address, 4, Duration::from_millis(100));
    let mut shown = 0;
    let seen = run(plan, pending(), |_, _| shown += 1).await.unwrap();
    assert!(shown > 0 && seen.errors.is_empty() && seen.unfinished == 0);
    assert_eq!(seen.instances.len(), 2);
    for connection in 0..4 {
        let own = seen.samples.iter().filter(|it| it.connection == connection);
        let mut instances: Vec<_> = own.map(|it| it.instance.unwrap()).collect();
        assert!(instances.len() > 1);
        instances.dedup();
        assert_eq!(instances.len(), 1);
    }
}

#[tokio::test]
async fn refusals_and_broken_connections_are_counted_and_outlived() {
    let address = server(|_, count| match count {
        0 => Some(A),
        1 => Some(BUSY),
        _ => None,
    })
    .await;
    let plan = plan(address, 1, Duration::from_millis(300));
    let seen = run(plan, pending(), |_, _| {}).await.unwrap();
    assert!(seen.errors["status 429 throttled"] > 1, "{:?}", seen.errors);
    assert_eq!(seen.errors.len(), 2);
    assert!(seen.samples.iter().any(|it| it.status == Some(429)));
    assert!(seen.samples.iter().filter(|it| it.is_answer()).count() > 1);
}

#[tokio::test]
async fn what_is_outstanding_at_an_interruption_is_unfinished() {
    let address = server(|_, count| (count == 0).then_some(A)).await;
    let held = plan(address, 3, Duration::from_mins(1));
    // Nobody answers on this one at all.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let held = Plan {
        address: silent.local_addr().unwrap(),
        ..held
    };
    let seen = run(
        held,
        tokio::time::sleep(Duration::from_millis(50)),
        |_, _| {},
    );
    let seen = seen.await.unwrap();
    assert_eq!((seen.unfinished, seen.samples.len()), (3, 0));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_failure() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let failed = run(
        plan(address, 2, Duration::from_secs(1)),
        pending(),
        |_, _| {},
    )
    .await;
    assert!(failed.unwrap_err().to_string().contains("no connection"));
}
