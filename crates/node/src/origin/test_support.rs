//! What the tests of this module and of `outbound` share.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use fractus_blob::{BucketName, BucketSettings, Config, ObjectKey, ObjectMeta, Store};
use fractus_func::{Body, RequestId};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::full;

pub(crate) const ID: &str = "00000000-0000-4000-8000-000000000000";

pub(crate) fn id() -> RequestId {
    ID.parse().expect("a request id")
}

pub(crate) fn body(text: &str) -> Body {
    whole(Bytes::copy_from_slice(text.as_bytes()))
}

pub(crate) fn whole(bytes: Bytes) -> Body {
    full(bytes)
}

pub(crate) fn get(url: &str) -> Request<Body> {
    Request::get(url).body(body("")).expect(url)
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) async fn of(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        Self {
            status: head.status,
            headers: head.headers,
            bytes: body.collect().await.expect("a whole body").to_bytes(),
        }
    }

    /// A field, or nothing.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("ASCII"))
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.bytes).expect("UTF-8")
    }
}

/// A store with a bucket `open`, which is public, and a bucket `closed`, which is not.
pub(crate) async fn store() -> (TempDir, Store) {
    let folder = TempDir::new().expect("a temporary folder");
    let store = Store::open(folder.path(), Config::default()).expect("a new store");
    for (name, public) in [("open", true), ("closed", false)] {
        let bucket = BucketName::new(name).expect("a bucket's name");
        let made = store.create_bucket(&bucket, BucketSettings { public });
        made.await.expect("a new bucket");
    }
    (folder, store)
}

pub(crate) async fn put(store: &Store, bucket: &str, key: &str, content: &[u8]) {
    let content_type = Some("image/png".to_owned());
    let meta = ObjectMeta {
        content_type,
        user: Vec::new(),
    };
    put_with(store, bucket, key, meta, content).await;
}

pub(crate) async fn put_with(
    store: &Store,
    bucket: &str,
    key: &str,
    meta: ObjectMeta,
    content: &[u8],
) {
    let bucket = BucketName::new(bucket).expect("a bucket's name");
    let key = ObjectKey::new(key).expect("a key");
    let mut writer = store.writer(&bucket, &key, meta);
    writer.write_async(content).await.expect("a write");
    writer
        .finish_async()
        .await
        .await
        .expect("an acknowledgement");
}

/// Bytes of which no two blocks are alike.
pub(crate) fn content(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// An HTTP server that answers everything in one way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send,
    {
        Self::accept(move |tcp| {
            let answer = answer.clone();
            async move {
                let service = service_fn(|request| {
                    let answered = answer(request);
                    async move { Ok::<_, Infallible>(answered.await) }
                });
                let served = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(tcp), service);
                // Clients of tests go away as they like.
                drop(served.await);
            }
        })
        .await
    }

    /// A server that plays `scripts`, one for each connection: all that it writes after each
    /// request's head; it then closes the connection.
    pub(crate) async fn scripted(scripts: &'static [&'static [&'static str]]) -> Self {
        let next = Arc::new(AtomicUsize::new(0));
        Self::accept(move |mut tcp| {
            let script = scripts[next.fetch_add(1, Ordering::SeqCst)];
            async move {
                for answer in script {
                    read_head(&mut tcp).await;
                    tcp.write_all(answer.as_bytes())
                        .await
                        .expect("a written answer");
                }
                read_head(&mut tcp).await;
            }
        })
        .await
    }

    async fn accept<F, A>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> A + Send + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(tcp));
            }
        });
        Self {
            address,
            connections,
            task,
        }
    }

    /// Connections that were ever made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a request's head, or up to the connection's end.
async fn read_head(tcp: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match tcp.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_end) => break,
        }
    }
    head
}
