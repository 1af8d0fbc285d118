//! A handler of events on `lambda_runtime` whose answer is a stream: the words of the event, one
//! after the other.

use std::time::Duration;

use lambda_runtime::streaming::{Body, Response, channel};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};

async fn speak(event: LambdaEvent<Vec<String>>) -> Result<Response<Body>, Error> {
    let (mut words, body) = channel();
    tokio::spawn(async move {
        for word in event.payload {
            if words.send_data(format!("{word}\n").into()).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    });
    Ok(Response::from(body))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(speak)).await
}
