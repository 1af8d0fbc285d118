//! `fractus status`: how the node is.

use std::process::ExitCode;

use fractus_stdx::ByteSize;
use serde_json::Value;

use crate::api::Status;
use crate::cli::Context;
use crate::client::Admin;
use crate::commands::bucket::more;
use crate::failure::Failure;
use crate::time::rfc3339;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) async fn run(context: &Context, Args {}: Args) -> Result<ExitCode, Failure> {
    let admin = Admin::connect(context.data())?;
    let output = &context.output;
    if output.json {
        output.json(&admin.get::<Value>("/v1/status").await?)?;
    } else {
        output.line(text(&admin.get("/v1/status").await?))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(status: &Status) -> String {
    let Status { cache, .. } = status;
    let asked = cache.hits + cache.misses;
    let share = (cache.hits * 100).checked_div(asked).unwrap_or(0);
    let lines = [
        (
            "node",
            format!("fractus {}, process {}", status.version, status.pid),
        ),
        ("since", rfc3339(status.started_ms)),
        ("data", status.data.clone()),
        ("edge", format!("http://{}", status.edge)),
        (
            "api",
            status
                .api
                .as_ref()
                .map_or_else(|| "–".to_owned(), |api| format!("http://{api}")),
        ),
        ("admin", format!("http://{}", status.admin)),
        (
            "functions",
            format!(
                "{}, {} running, {} of guest memory",
                status.functions,
                status.running,
                ByteSize(status.guest_memory)
            ),
        ),
        (
            "store",
            format!(
                "{} in {}{} objects of {} buckets, {}",
                ByteSize(status.store_bytes),
                status.objects,
                more(status.objects_capped),
                status.buckets,
                health(&status.store_health)
            ),
        ),
        (
            "cache",
            format!(
                "{} of {} in {} entries, {share} % of {asked} requests answered",
                ByteSize(cache.bytes),
                ByteSize(cache.capacity),
                cache.entries
            ),
        ),
    ];
    let lines: Vec<String> = lines
        .iter()
        .map(|(name, value)| format!("{name:<10} {value}"))
        .collect();
    lines.join("\n")
}

/// The store's health in words: all is well, or what is not.
fn health(told: &Value) -> String {
    let is_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(count) => count.as_u64() == Some(0),
        Value::Array(list) => list.is_empty(),
        Value::String(_) | Value::Object(_) => false,
    };
    if is_nothing(&told["stopped"]) && is_nothing(&told["damaged"]) {
        "healthy".to_owned()
    } else {
        format!("UNHEALTHY: {told}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{health, text};

    #[test]
    fn a_count_that_was_given_up_says_so() {
        let told = |capped: bool| {
            let status = json!({
                "version": "1", "pid": 1, "started_ms": 0, "edge": "e", "admin": "a", "data": "d",
                "functions": 0, "buckets": 2, "objects": 10_000, "objects_capped": capped,
                "store_bytes": 0, "running": 0, "guest_memory": 0, "store_health": {},
                "cache": {"entries": 0, "bytes": 0, "capacity": 0, "hits": 0, "misses": 0},
            });
            text(&serde_json::from_value(status).unwrap())
        };
        assert!(told(true).contains("10000+ objects of 2 buckets"));
        assert!(told(false).contains("10000 objects of 2 buckets"));
    }

    #[test]
    fn health_in_words() {
        let told = |stopped, damaged| health(&json!({"stopped": stopped, "damaged": damaged}));
        assert_eq!(told(json!(null), json!([])), "healthy");
        assert_eq!(told(json!(false), json!(0)), "healthy");
        assert!(told(json!("disk gone"), json!(0)).starts_with("UNHEALTHY"));
        assert!(told(json!(null), json!([{"volume": 3}])).contains('3'));
    }
}
