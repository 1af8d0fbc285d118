//! A handler of events on `lambda_runtime`: divides, and fails in each way that there is.

use lambda_runtime::{Diagnostic, Error, LambdaEvent, run, service_fn};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Request {
    dividend: i64,
    divisor: i64,
}

#[derive(Serialize)]
struct Answer {
    quotient: i64,
    function: String,
    request: String,
}

async fn divide(event: LambdaEvent<Request>) -> Result<Answer, Diagnostic> {
    let Request { dividend, divisor } = event.payload;
    if divisor == 0 {
        return Err(Diagnostic {
            error_type: "DivisionByZero".to_owned(),
            error_message: format!("{dividend} cannot be divided by zero"),
        });
    }
    if divisor < 0 {
        panic!("a negative divisor");
    }
    Ok(Answer {
        quotient: dividend / divisor,
        function: event.context.env_config.function_name.clone(),
        request: event.context.request_id,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(divide)).await
}
