//! An HTTP function on the crate `lambda_http`, as it would be deployed to AWS Lambda.
//!
//! `/hello?name=Ada` greets, `/fail` fails, anything else is 404. Deployed with
//! `--env ANSWERS=stream` it sends one line after the other instead, each as soon as it is there.

use std::env;
use std::time::Duration;

use lambda_http::lambda_runtime::streaming;
use lambda_http::{
    Body, Error, Request, RequestExt as _, Response, run, run_with_streaming_response, service_fn,
};

const PAUSE: Duration = Duration::from_millis(300);

async fn greet(request: Request) -> Result<Response<Body>, Error> {
    let query = request.query_string_parameters();
    let (status, text) = match request.raw_http_path() {
        "/hello" => (
            200,
            format!("Hello, {}!\n", query.first("name").unwrap_or("you")),
        ),
        "/fail" => return Err(Error::from("this path always fails")),
        path => (404, format!("nothing at {path}\n")),
    };
    let answer = Response::builder()
        .status(status)
        .header("content-type", "text/plain; charset=utf-8")
        .body(Body::from(text))?;
    Ok(answer)
}

async fn count(_request: Request) -> Result<Response<streaming::Body>, Error> {
    let (mut lines, body) = streaming::channel();
    tokio::spawn(async move {
        for number in 1..=3 {
            // Whoever asked may have left.
            if lines
                .send_data(format!("line {number}\n").into())
                .await
                .is_err()
            {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    let answer = Response::builder()
        .header("content-type", "text/plain; charset=utf-8")
        .body(body)?;
    Ok(answer)
}

// One call at a time is all that an instance gets: a thread for each processor would be idle.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match env::var("ANSWERS").as_deref() {
        Ok("stream") => run_with_streaming_response(service_fn(count)).await,
        _ => run(service_fn(greet)).await,
    }
}
