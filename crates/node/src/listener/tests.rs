use std::future::pending;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::accept;
use super::seats::Seats;

const SEATS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(5);

/// A listener with few seats; it serves as long as the sender is kept.
async fn listener() -> (std::net::SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/", get(|| async { "here" }))
        .route("/never", get(pending::<&str>));
    let (stop, stopped) = watch::channel(false);
    drop(tokio::spawn(accept(
        listener,
        router,
        Seats::new(SEATS),
        stopped,
    )));
    (address, stop)
}

/// The answer to a request on a connection that is kept.
async fn ask(stream: &mut TcpStream) -> String {
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    while !answer.ends_with("here") {
        let mut some = [0; 512];
        let read = stream.read(&mut some).await.unwrap();
        assert!(read > 0, "closed after {answer:?}");
        answer.push_str(std::str::from_utf8(&some[..read]).unwrap());
    }
    answer
}

#[tokio::test]
async fn who_waits_without_a_request_goes_for_who_comes() {
    let (address, _stop) = listener().await;
    let mut kept = TcpStream::connect(address).await.unwrap();
    ask(&mut kept).await;
    let mut others = vec![kept];
    for number in 0..3 * SEATS {
        let mut other = TcpStream::connect(address).await.unwrap();
        if number % 2 == 0 {
            other.write_all(b"GET / HT").await.unwrap();
        }
        others.push(other);
    }
    let mut late = TcpStream::connect(address).await.unwrap();
    timeout(PATIENCE, ask(&mut late)).await.unwrap();
    // The oldest are gone, with and without a request before.
    for gone in others.iter_mut().take(3) {
        let read = timeout(PATIENCE, gone.read(&mut [0; 1])).await.unwrap();
        assert!(read.is_err() || read.is_ok_and(|read| read == 0));
    }
}

#[tokio::test]
async fn requests_in_progress_keep_their_seats() {
    let (address, _stop) = listener().await;
    let mut busy = Vec::new();
    for _ in 1..SEATS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        busy.push(stream);
    }
    for _ in 0..3 * SEATS {
        let mut one = TcpStream::connect(address).await.unwrap();
        timeout(PATIENCE, ask(&mut one)).await.unwrap();
    }
    for stream in &mut busy {
        let read = timeout(Duration::from_millis(1), stream.read(&mut [0; 1])).await;
        assert!(read.is_err(), "{read:?}");
    }
}
