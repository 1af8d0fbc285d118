//! A function's log, once or as it grows.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fractus_func::FunctionName;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::admin::App;
use crate::admin::body::{Channel, blocking};
use crate::admin::error::ApiError;
use crate::limits::LOG_PAGE_MAX;
use crate::logs::{LogLine, Logs};

/// Lines that a slow client may leave unread before the log waits for it.
const UNREAD: usize = 64;
/// Lines told when nobody says how many.
const LIMIT_DEFAULT: usize = 1_000;

/// Which lines are asked for.
#[derive(Deserialize)]
pub(super) struct Parameters {
    /// The first `limit` lines after this number; without it, the last `limit` lines.
    after: Option<u64>,
    limit: Option<usize>,
    /// Goes on with new lines until the client goes away.
    #[serde(default)]
    follow: bool,
}

pub(super) async fn read(
    State(admin): App,
    Path(name): Path<String>,
    Query(asked): Query<Parameters>,
) -> Result<Response, ApiError> {
    let functions = admin.control.functions();
    let entry = functions
        .get(&name)
        .ok_or_else(|| ApiError::no_such_function(&name))?;
    let follower = Follower {
        logs: functions.services().logs.clone(),
        function: entry.latest.name().clone(),
        last: asked.after,
        limit: asked.limit.unwrap_or(LIMIT_DEFAULT).min(LOG_PAGE_MAX),
    };
    let head = [(CONTENT_TYPE, "application/x-ndjson")];
    if asked.follow {
        let (sender, receiver) = mpsc::channel(UNREAD);
        let mut draining = admin.draining.subscribe();
        tokio::spawn(async move {
            // Followers never end by themselves, and the node must not wait for them.
            tokio::select! {
                () = follower.run(sender) => {}
                _ = draining.wait_for(|draining| *draining) => {}
            }
        });
        return Ok((head, Body::new(Channel(receiver))).into_response());
    }
    let lines = follower.read().await?;
    let text: Vec<u8> = lines.iter().flat_map(encode).collect();
    Ok((head, text).into_response())
}

fn encode(line: &LogLine) -> Bytes {
    let mut text = serde_json::to_vec(line).expect("texts and numbers are JSON");
    text.push(b'\n');
    text.into()
}

/// Reads on in a function's log.
struct Follower {
    logs: Logs,
    function: FunctionName,
    /// The last line read.
    last: Option<u64>,
    limit: usize,
}

impl Follower {
    async fn read(&self) -> Result<Vec<LogLine>, ApiError> {
        let (logs, function) = (self.logs.clone(), self.function.clone());
        let (after, limit) = (self.last, self.limit);
        blocking(move || {
            let lines = logs.read(&function, after, limit);
            lines.map_err(|error| ApiError::internal(&error))
        })
        .await
    }

    /// Sends what is there, then what comes, until the client goes away. Lines are written to the
    /// file before they are told, so whoever falls behind finds there what was missed.
    async fn run(mut self, client: mpsc::Sender<Bytes>) {
        let mut news = self.logs.follow();
        'behind: loop {
            let Ok(lines) = self.read().await else {
                return;
            };
            let more = self.last.is_some() && lines.len() == self.limit;
            for line in &lines {
                if client.send(encode(line)).await.is_err() {
                    return;
                }
            }
            self.last = lines.last().map(|line| line.seq).or(self.last).or(Some(0));
            if more {
                continue;
            }
            loop {
                let followed = tokio::select! {
                    followed = news.recv() => followed,
                    () = client.closed() => return,
                };
                let line = match followed {
                    Ok(followed) if followed.function == self.function => followed.line,
                    Ok(_) => continue,
                    Err(RecvError::Lagged(_)) => continue 'behind,
                    Err(RecvError::Closed) => return,
                };
                if self.last.is_some_and(|last| line.seq <= last) {
                    continue;
                }
                self.last = Some(line.seq);
                if client.send(encode(&line)).await.is_err() {
                    return;
                }
            }
        }
    }
}
