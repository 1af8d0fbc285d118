//! `fractus queue`: queues, whose messages call functions.

use std::process::ExitCode;

use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};

use crate::api::{Queues, Sent};
use crate::cli::Context;
use crate::client::{Admin, encode_segment};
use crate::failure::Failure;
use crate::limits::STALL_MAX;
use crate::output::Output;
use crate::table::{Align, Table};
use crate::time::rfc3339;

const NOTE: &str = "\
A function takes a queue's messages if its fractus.toml says so,

  [[triggers.queue]]
  queue = \"NAME\"

or by an event source mapping (`aws lambda create-event-source-mapping`) of the queue's ARN,
arn:aws:sqs:REGION:000000000000:NAME. The same ARN is a destination for what becomes of events.";

#[derive(clap::Args, Debug)]
#[command(after_help = NOTE)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a queue, or change how one treats its messages
    Create {
        /// The queue's name
        name: String,
        /// A message that was taken and not worked off comes again after so many seconds
        #[arg(long, value_name = "SECONDS")]
        visibility: Option<u64>,
        /// Older messages are dropped, in seconds
        #[arg(long, value_name = "SECONDS")]
        retention: Option<u64>,
        /// A message that was taken so often goes to the dead letter queue
        #[arg(long, value_name = "N")]
        max_receives: Option<u32>,
        /// That queue
        #[arg(long, value_name = "QUEUE")]
        dead_letter: Option<String>,
    },
    /// List the queues and what waits in them
    Ls,
    /// Send a message
    Send {
        /// The queue's name
        name: String,
        /// The message
        body: String,
        /// It comes after so many seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        delay: u64,
    },
    /// Remove all messages of a queue
    Purge {
        /// The queue's name
        name: String,
    },
    /// Remove a queue and its messages
    Rm {
        /// The queue's name
        name: String,
    },
}

fn path(queue: &str) -> String {
    format!("/v1/queues/{}", encode_segment(queue))
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let admin = Admin::connect(context.data())?;
    let output = &context.output;
    match args.action {
        Action::Create {
            name,
            visibility,
            retention,
            max_receives,
            dead_letter,
        } => {
            let mut change = Map::new();
            let mut set = |key: &str, value: Option<Value>| {
                if let Some(value) = value {
                    change.insert(key.to_owned(), value);
                }
            };
            set(
                "visibility_ms",
                visibility.map(|s| json!(s.saturating_mul(1000))),
            );
            set(
                "retention_ms",
                retention.map(|s| json!(s.saturating_mul(1000))),
            );
            set("max_receives", max_receives.map(Value::from));
            set("dead_letter", dead_letter.map(Value::from));
            let told: Value = admin
                .call(Method::PUT, &path(&name), &change, STALL_MAX)
                .await?;
            if output.json {
                output.json(&told)?;
            } else {
                output.note(format_args!("queue {name} is there"));
            }
        }
        Action::Ls => list(&admin, output).await?,
        Action::Send { name, body, delay } => {
            let message = json!({"body": body, "delay_ms": delay.saturating_mul(1000)});
            let path = format!("{}/messages", path(&name));
            let Sent { id } = admin.call(Method::POST, &path, &message, STALL_MAX).await?;
            if output.json {
                output.json(&json!({"id": id}))?;
            } else {
                output.line(id)?;
            }
        }
        Action::Purge { name } => {
            admin.delete(&format!("{}/messages", path(&name))).await?;
            output.note(format_args!("queue {name} is empty"));
        }
        Action::Rm { name } => {
            admin.delete(&path(&name)).await?;
            output.note(format_args!("queue {name} removed"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(admin: &Admin, output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.json(&admin.get::<Value>("/v1/queues").await?);
    }
    let Queues { queues } = admin.get("/v1/queues").await?;
    let mut table = Table::new([
        ("QUEUE", Align::Left),
        ("READY", Align::Right),
        ("IN FLIGHT", Align::Right),
        ("LATER", Align::Right),
        ("OLDEST", Align::Left),
        ("DEAD LETTERS", Align::Left),
    ]);
    for queue in queues {
        table.push([
            queue.name,
            queue.ready.to_string(),
            queue.in_flight.to_string(),
            queue.hidden.to_string(),
            queue.oldest_ms.map_or_else(|| "–".to_owned(), rfc3339),
            queue.dead_letter.unwrap_or_else(|| "–".to_owned()),
        ]);
    }
    output.raw(table.to_string().as_bytes())
}
