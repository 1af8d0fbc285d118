//! Times what checking the signature of one request takes; prints JSON, in microseconds.
//!
//! `cargo run -p fractus-lambda --release --example verify`

use std::hint::black_box;
use std::io::{self, Write as _};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fractus_lambda::sigv4::{Credentials, Scope, Signature, SigningKeys, body_sha256, sign};
use http::request::Parts;

/// Checks that are timed, each by itself.
const CHECKS: usize = 100_000;

const REGION: &str = "us-east-1";
const SERVICE: &str = "lambda";

/// A body of 200 bytes.
const BODY: &[u8; 200] = &[b'x'; 200];

/// A call of a function as clients send it, without its signature.
fn request() -> Parts {
    let fields = [
        ("host", "127.0.0.1:9000"),
        ("accept-encoding", "identity"),
        ("content-type", "application/json"),
        ("content-length", "200"),
        (
            "user-agent",
            "aws-cli/2.31.0 md/awscrt#0.27.6 ua/2.1 os/linux lang/python#3.13.7",
        ),
        ("x-amz-invocation-type", "RequestResponse"),
    ];
    let builder = http::Request::post("/2015-03-31/functions/hello/invocations");
    let builder = fields.iter().fold(builder, |builder, (name, value)| {
        builder.header(*name, *value)
    });
    let (head, ()) = builder
        .body(())
        .expect("the fields are well-formed")
        .into_parts();
    head
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let credentials = Credentials {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
    };
    let mut head = request();
    sign(
        &mut head,
        &body_sha256(BODY),
        &credentials,
        REGION,
        SERVICE,
        now_s,
    )?;
    let keys = SigningKeys::new([credentials]);
    let scope = Scope {
        region: REGION,
        services: &[SERVICE],
    };
    let check = || -> Result<(), Box<dyn std::error::Error>> {
        let signature = Signature::parse(black_box(&head), now_s)?.ok_or("no signature")?;
        let signed = signature.check(Some(&body_sha256(black_box(BODY))), &keys, &scope)?;
        black_box(signed);
        Ok(())
    };
    let mut times = Vec::with_capacity(CHECKS);
    for _ in 0..CHECKS {
        let began = Instant::now();
        check()?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    let (p50, p99) = (times[CHECKS / 2], times[CHECKS / 100 * 99]);
    writeln!(
        io::stdout().lock(),
        r#"{{"p50": {p50:.2}, "p99": {p99:.2}}}"#
    )?;
    Ok(())
}
