//! Serves a body of so many bytes on an address, for a load generator to be pointed at:
//! `hit_bench [ADDR] [BYTES] [THREADS]`; `/hit` is cached, `/pass` goes to the origin each time.

use std::net::TcpListener;
use std::sync::Arc;

use bytes::Bytes;
use fractus_edge::{Edge, EdgeConfig, Origin};
use fractus_func::{Body, BoxFuture, RequestId, RouteSpec, RouteTable};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};

/// Answers with the same bytes.
#[derive(Debug)]
struct Fixed(Bytes);

impl Origin for Fixed {
    fn generation(&self) -> u64 {
        1
    }

    fn fetch(&self, request: Request<Body>, _id: RequestId) -> BoxFuture<'static, Response<Body>> {
        let body = Full::new(self.0.clone());
        let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
        let headers = response.headers_mut();
        let control = match request.uri().path() {
            "/hit" => "public, max-age=3600",
            _ => "no-store",
        };
        for (name, value) in [
            ("cache-control", control),
            ("content-type", "application/octet-stream"),
            ("etag", "\"0123456789abcdef\""),
            ("last-modified", "Sat, 21 Nov 2026 08:00:00 GMT"),
        ] {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        Box::pin(std::future::ready(response))
    }
}

fn main() -> ! {
    let mut arguments = std::env::args().skip(1);
    let addr = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let mut number = |default: usize| {
        let text = arguments.next();
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let bytes = number(1024);
    let edge = Edge::new(EdgeConfig {
        threads: number(1),
        ..EdgeConfig::default()
    });
    let mut routes: RouteTable<Arc<dyn Origin>> = RouteTable::default();
    let everything = RouteSpec {
        host: None,
        path: "/".to_owned(),
    };
    let origin = Arc::new(Fixed(Bytes::from(vec![b'x'; bytes])));
    routes.insert(&everything, origin).expect("the only route");
    edge.set_routes(routes);
    let listener = TcpListener::bind(addr).expect("a free address");
    let _serving = edge.serve(listener).expect("serves");
    loop {
        std::thread::park();
    }
}
