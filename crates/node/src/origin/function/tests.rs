use fractus_func::{CallError, Outcome};

use super::failure;
use crate::origin::test_support::{Answer, ID, id};

#[tokio::test]
async fn a_call_without_an_answer_gets_one() {
    for outcome in [
        Outcome::Trap,
        Outcome::Timeout,
        Outcome::CpuLimit,
        Outcome::MemoryLimit,
        Outcome::RequestTooLarge,
        Outcome::ResponseTooLarge,
        Outcome::NoResponse,
        Outcome::GuestError,
        Outcome::Throttled,
        Outcome::NodeBusy,
        Outcome::Cancelled,
        Outcome::StartFailed,
    ] {
        let error = CallError {
            outcome,
            message: "what happened".to_owned(),
            kind: None,
            stack: Vec::new(),
        };
        let name = "hello".parse().expect("a function's name");
        let answer = Answer::of(failure(&name, &error, id())).await;
        assert_eq!(answer.status, outcome.http_status());
        assert_eq!(answer.field("x-fractus-error"), outcome.code());
        let again = matches!(outcome, Outcome::Throttled | Outcome::NodeBusy);
        assert_eq!(answer.field("retry-after"), if again { "1" } else { "" });
        assert_eq!(
            answer.text(),
            format!("function hello: what happened (request {ID})\n")
        );
    }
}
