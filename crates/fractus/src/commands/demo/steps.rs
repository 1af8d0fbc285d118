//! The steps of the demo: requests over sockets, each with what must come of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fractus_func::UsageRecord;
use http::header::{AUTHORIZATION, HeaderMap};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::api::{Function, Usage};
use crate::client::Admin;
use crate::client::timed::{Connection, Timed};
use crate::commands::demo::row::{Row, Start, Verdict};
use crate::commands::demo::{PHOTO, photo};
use crate::failure::Failure;
use crate::limits::RECORD_MAX;

const FUNCTION: &str = "resize";
const AT_ONCE: usize = 100;

/// The path of the photograph resized by the function.
pub(crate) fn resized(width: u32) -> String {
    format!("/{FUNCTION}/{PHOTO}?w={width}")
}

/// Takes every step. The requests of each go over connections that are open already.
pub(crate) async fn run(admin: &Admin, edge: SocketAddr) -> Result<Vec<Row>, Failure> {
    let mut store = Connection::open(admin.address()).await?;
    let mut edge_connection = Connection::open(edge).await?;
    let mut token = HeaderMap::new();
    token.insert(AUTHORIZATION, admin.token().clone());
    let none = HeaderMap::new();

    let object = photo(PHOTO).path();
    let answer = store.get(&object, &token).await?;
    let mut rows = vec![Row::new("object, from the bucket", &object, &answer)];
    for (step, path, cache, call) in [
        (
            "object, edge",
            photo(PHOTO).edge_path(),
            Verdict::Miss,
            None,
        ),
        (
            "object, edge again",
            photo(PHOTO).edge_path(),
            Verdict::Hit,
            None,
        ),
        (
            "resized, cold",
            resized(400),
            Verdict::Miss,
            Some(Start::Cold),
        ),
        (
            "resized, warm",
            resized(320),
            Verdict::Miss,
            Some(Start::Warm),
        ),
        ("resized, again", resized(320), Verdict::Hit, None),
    ] {
        let answer = edge_connection.get(&path, &none).await?;
        let mut row = Row::new(step, &path, &answer).cached(cache);
        if let Some(start) = call {
            let id = row.request_id.clone().unwrap_or_default();
            row = row.called(record(admin, &format!("request_id={id}")).await?, start);
        }
        rows.push(row);
    }
    rows.push(at_once(admin, edge).await?);
    Ok(rows)
}

/// Many requests at once for one picture that is not cached: one call must answer them all.
async fn at_once(admin: &Admin, edge: SocketAddr) -> Result<Row, Failure> {
    let path = resized(240);
    let before = calls(admin, 0).await?;
    let (answers, total) = burst(edge, &path).await?;
    let after = calls(admin, before + 1).await?;

    let step = "100 at once, one key";
    let mut row = Row::new(step, &path, &answers[0]).of_many(&answers, total);
    row.must(after == before + 1, || {
        format!("the function ran {} times", after - before)
    });
    let newest = record(admin, &format!("function={FUNCTION}&limit=1")).await?;
    Ok(row.called(newest, Start::Warm))
}

/// Sends requests for `path` at the same moment, each over a connection of its own; the answers,
/// and how long it took until the last had come.
async fn burst(edge: SocketAddr, path: &str) -> Result<(Vec<Timed>, Duration), Failure> {
    let line = Arc::new(Barrier::new(AT_ONCE + 1));
    let mut requests = JoinSet::new();
    for _ in 0..AT_ONCE {
        let mut connection = Connection::open(edge).await?;
        let (line, path) = (Arc::clone(&line), path.to_owned());
        requests.spawn(async move {
            line.wait().await;
            connection.get(&path, &HeaderMap::new()).await
        });
    }
    let start = Instant::now();
    line.wait().await;
    let mut answers = Vec::with_capacity(AT_ONCE);
    while let Some(ended) = requests.join_next().await {
        answers.push(ended.expect("a request does not panic")?);
    }
    Ok((answers, start.elapsed()))
}

/// The node's record of the newest call that `query` selects, once it has it.
async fn record(admin: &Admin, query: &str) -> Result<Option<UsageRecord>, Failure> {
    let path = format!("/v1/usage?{query}");
    let give_up = Instant::now() + RECORD_MAX;
    loop {
        let Usage { records, .. } = admin.get(&path).await?;
        if !records.is_empty() || Instant::now() > give_up {
            return Ok(records.into_iter().next().map(|call| call.record));
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// How often the function was called, once that is at least `expected` and no call is under way.
async fn calls(admin: &Admin, expected: u64) -> Result<u64, Failure> {
    let path = format!("/v1/functions/{FUNCTION}");
    let give_up = Instant::now() + RECORD_MAX;
    loop {
        let function: Function = admin.get(&path).await?;
        let settled = function.running == 0 && function.waiting == 0;
        let calls = function.counters.calls;
        if settled && calls >= expected || Instant::now() > give_up {
            return Ok(calls);
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// What good rows have shown.
pub(crate) fn summary(rows: &[Row]) -> String {
    let [_, miss, hit, _, warm, again, _] = rows else {
        return String::new();
    };
    format!(
        "For the photograph HIT was {} MISS, for the resized one {} MISS;
{AT_ONCE} requests at once for one uncached picture were one call of the function.
All went over connections that were open already (HTTP/1.1 keep-alive). In the last row TTFB is
the median, and TOTAL the time until the last answer had come.",
        times_faster(miss.total_us, hit.total_us),
        times_faster(warm.total_us, again.total_us),
    )
}

/// How much longer `slow` took than `fast`, in words.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub(crate) fn times_faster(slow: u64, fast: u64) -> String {
    let ratio = slow as f64 / fast.max(1) as f64;
    match ratio {
        10.0.. => format!("{ratio:.0}× faster than"),
        1.1.. => format!("{ratio:.1}× faster than"),
        0.9.. => "as fast as".to_owned(),
        _ => "slower than".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::times_faster;

    #[test]
    fn ratios() {
        for (slow, fast, text) in [
            (4000, 100, "40× faster than"),
            (150, 100, "1.5× faster than"),
            (100, 100, "as fast as"),
            (10, 100, "slower than"),
            (5, 0, "5.0× faster than"),
        ] {
            assert_eq!(times_faster(slow, fast), text);
        }
    }
}
