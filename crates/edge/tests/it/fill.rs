//! One fetch for many requests.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fractus_edge::EdgeConfig;
use fractus_func::{Body, BodyError};
use http::Response;
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::client::Client;
use crate::origin::{Scripted, answer, channel, endless, with_body};
use crate::start::{Started, config, eventually, start, start_with};

const FRESH: &str = "cache-control: max-age=100";

/// An origin that answers each request when the test lets it.
fn gated(
    make: impl Fn(usize) -> Response<Body> + Send + Sync + 'static,
) -> (Started, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let at_gate = Arc::clone(&gate);
    let make = Arc::new(make);
    let origin = Scripted::new(move |_, number| {
        let (gate, make) = (Arc::clone(&at_gate), Arc::clone(&make));
        async move {
            gate.acquire().await.expect("never closed").forget();
            make(number)
        }
    });
    (start(origin), gate)
}

async fn ask(started: &Started, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = started.client().await;
        client.ask("GET", "/x", "").await;
        clients.push(client);
    }
    clients
}

#[tokio::test]
async fn a_hundred_requests_are_one_fill() {
    let body: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let expected = body.clone();
    let (started, gate) = gated(move |_| answer(200, FRESH, body.clone()));
    let mut clients = ask(&started, 100).await;
    let collapsed = || started.edge.stats().collapsed == 99;
    eventually("all but one follow", collapsed).await;
    gate.add_permits(1);
    let mut leaders = 0;
    for client in &mut clients {
        let answer = client.answer().await.expect("an answer");
        assert!(answer.status == 200 && answer.body == expected);
        leaders += usize::from(!answer.cache().contains("; collapsed"));
    }
    assert_eq!((leaders, started.origin.calls()), (1, 1));
    assert_eq!(started.edge.stats().fills, 1);
}

#[tokio::test]
async fn followers_read_before_the_fill_ends() {
    let (sender, body) = channel();
    let body = Mutex::new(Some(body));
    let (started, gate) = gated(move |_| {
        let body = body.lock().unwrap().take().expect("asked once");
        with_body(200, FRESH, body)
    });
    let mut clients = ask(&started, 3).await;
    eventually("two follow", || started.edge.stats().collapsed == 2).await;
    gate.add_permits(1);
    for piece in ["one", "two"] {
        sender.send(Ok(Bytes::from(piece))).unwrap();
        for client in &mut clients {
            if piece == "one" {
                assert_eq!(client.answer_head().await.unwrap().status, 200);
            }
            assert_eq!(client.chunk().await, piece);
        }
    }
    // One that comes late gets all of it.
    let mut late = started.client().await;
    late.ask("GET", "/x", "").await;
    assert!(
        late.answer_head()
            .await
            .unwrap()
            .cache()
            .ends_with("; collapsed")
    );
    assert_eq!(late.chunk().await + &late.chunk().await, "onetwo");
    drop(sender);
    for client in &mut clients {
        assert_eq!(client.chunk().await, "");
    }
    assert_eq!(late.chunk().await, "");
    let hit = late.get("/x").await;
    assert!(hit.cache().contains("; hit"));
    assert_eq!((hit.text(), hit.expect("content-length")), ("onetwo", "6"));
    assert_eq!(started.origin.calls(), 1);
}

#[tokio::test]
async fn a_leader_that_goes_leaves_its_fill_to_the_followers() {
    let (started, gate) = gated(|_| answer(200, FRESH, "body"));
    let leader = ask(&started, 1).await;
    eventually("the origin is asked", || started.origin.calls() == 1).await;
    let mut followers = ask(&started, 2).await;
    eventually("two follow", || started.edge.stats().collapsed == 2).await;
    drop(leader);
    eventually("the leader has gone", || {
        started.edge.stats().connections == 2
    })
    .await;
    gate.add_permits(1);
    for follower in &mut followers {
        assert_eq!(follower.answer().await.unwrap().text(), "body");
    }
    assert_eq!(started.origin.calls(), 1);
    assert!(followers[0].get("/x").await.cache().contains("; hit"));
}

#[tokio::test]
async fn a_leader_that_goes_within_the_body_does_not_end_it() {
    let (sender, body) = channel();
    let body = Mutex::new(Some(body));
    let origin = Scripted::plain(move |_, _| {
        let body = body.lock().unwrap().take().expect("asked once");
        with_body(200, FRESH, body)
    });
    let started = start(origin);
    let mut leader = ask(&started, 1).await.remove(0);
    sender.send(Ok(Bytes::from("one"))).unwrap();
    leader.answer_head().await.unwrap();
    let mut follower = ask(&started, 1).await.remove(0);
    follower.answer_head().await.unwrap();
    drop(leader);
    eventually("the leader has gone", || {
        started.edge.stats().connections == 1
    })
    .await;
    sender.send(Ok(Bytes::from("two"))).unwrap();
    drop(sender);
    assert_eq!(follower.chunk().await + &follower.chunk().await, "onetwo");
    assert_eq!(follower.chunk().await, "");
    assert_eq!(follower.get("/x").await.text(), "onetwo");
}

/// However often something comes of it.
#[tokio::test]
async fn a_body_that_nobody_reads_is_given_up() {
    let (senders, mut bodies) = mpsc::unbounded_channel();
    let origin = Scripted::plain(move |_, _| {
        let (sender, body) = channel();
        senders.send(sender).unwrap();
        with_body(200, FRESH, body)
    });
    let impatient = EdgeConfig {
        abandoned_wait: Duration::from_millis(100),
        ..config()
    };
    let started = start_with(impatient, origin);
    let mut clients = ask(&started, 1).await;
    let sender = bodies.recv().await.unwrap();
    sender.send(Ok(Bytes::from("one"))).unwrap();
    clients[0].answer_head().await.unwrap();
    assert_eq!(clients[0].chunk().await, "one");
    drop(clients);
    // Each time that this asks, the origin sends some more.
    let trickle = || sender.send(Ok(Bytes::from("more"))).is_err();
    eventually("the body is dropped", trickle).await;
    assert_eq!(started.edge.stats().entries, 0);
}

/// Says when it is dropped.
struct Bell(Arc<AtomicBool>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn nobody_left_ends_the_fetch() {
    let rung = Arc::new(AtomicBool::new(false));
    let bell = Arc::clone(&rung);
    let origin = Scripted::new(move |_, number| {
        let bell = Bell(Arc::clone(&bell));
        async move {
            if number == 0 {
                std::future::pending::<()>().await;
            }
            drop(bell);
            answer(200, FRESH, "second")
        }
    });
    let started = start(origin);
    let clients = ask(&started, 1).await;
    eventually("the origin is asked", || started.origin.calls() == 1).await;
    drop(clients);
    eventually("the fetch is dropped", || rung.load(Ordering::SeqCst)).await;
    let mut client = started.client().await;
    assert_eq!(client.get("/x").await.text(), "second");
}

#[tokio::test]
async fn an_origin_that_dies_leaves_nothing_behind() {
    for length in ["", "\ncontent-length: 9"] {
        let fields = format!("{FRESH}{length}");
        let (senders, mut bodies) = mpsc::unbounded_channel();
        let origin = Scripted::plain(move |_, _| {
            let (sender, body) = channel();
            senders.send(sender).unwrap();
            with_body(200, &fields, body)
        });
        let started = start(origin);
        for is_error in [true, false] {
            if length.is_empty() && !is_error {
                // Without a length, an end is an end.
                continue;
            }
            let mut clients = ask(&started, 1).await;
            let sender = bodies.recv().await.unwrap();
            clients.extend(ask(&started, 1).await);
            sender.send(Ok(Bytes::from("half"))).unwrap();
            let mut heads = Vec::new();
            for client in &mut clients {
                heads.push(client.answer_head().await.unwrap());
            }
            if is_error {
                sender.send(Err(BodyError::Disconnected)).unwrap();
            }
            drop(sender);
            for (client, head) in clients.iter_mut().zip(&mut heads) {
                assert!(!client.body(head).await, "it must not seem whole");
            }
            assert_eq!(started.edge.stats().entries, 0);
        }
    }
}

#[tokio::test]
async fn uncacheable_requests_never_wait_for_each_other() {
    let (started, gate) =
        gated(|number| answer(200, "cache-control: no-store", number.to_string()));
    // Of an unknown key, one goes first, and the rest go when its head has come.
    let mut clients = ask(&started, 3).await;
    eventually("two follow", || started.edge.stats().collapsed == 2).await;
    assert_eq!(started.origin.calls(), 1);
    gate.add_permits(1);
    eventually("all three are asked", || started.origin.calls() == 3).await;
    gate.add_permits(2);
    let mut bodies = Vec::new();
    for client in &mut clients {
        bodies.push(client.answer().await.unwrap().body);
    }
    bodies.sort();
    assert_eq!(bodies, [b"0", b"1", b"2"]);
    // From then on, all go at once.
    let clients = ask(&started, 5).await;
    eventually("all are with the origin", || started.origin.calls() == 8).await;
    assert_eq!(started.edge.stats().uncacheable, 5);
    drop(clients);
}

#[tokio::test]
async fn a_key_that_becomes_cacheable_is_found_out() {
    let origin = Scripted::plain(|_, number| {
        let fields = if number == 0 {
            "cache-control: no-store"
        } else {
            FRESH
        };
        answer(200, fields, number.to_string())
    });
    let started = start(origin);
    let mut client = started.client().await;
    for body in ["0", "1", "2", "2"] {
        assert_eq!(client.get("/x").await.text(), body);
    }
}

#[tokio::test]
async fn followers_do_not_wait_for_ever() {
    let origin = Scripted::new(|_, number| async move {
        if number == 0 {
            std::future::pending::<()>().await;
        }
        answer(200, FRESH, "mine")
    });
    let quick = EdgeConfig {
        follower_wait: Duration::from_millis(50),
        ..config()
    };
    let started = start_with(quick, origin);
    let stuck = ask(&started, 1).await;
    eventually("the origin is asked", || started.origin.calls() == 1).await;
    let mut client = started.client().await;
    assert_eq!(client.get("/x").await.text(), "mine");
    drop(stuck);
}

#[tokio::test]
async fn another_variant_is_fetched_beside_the_first() {
    let go = Arc::new(Notify::new());
    let waiting = Arc::clone(&go);
    let origin = Scripted::new(move |request, number| {
        let go = Arc::clone(&waiting);
        async move {
            if number == 0 {
                go.notified().await;
            }
            let language = crate::origin::field(&request, "accept-language");
            answer(
                200,
                "cache-control: max-age=9\nvary: accept-language",
                language,
            )
        }
    });
    let started = start(origin);
    let (mut first, mut second) = (started.client().await, started.client().await);
    first.ask("GET", "/x", "Accept-Language: de\n").await;
    eventually("the origin is asked", || started.origin.calls() == 1).await;
    second.ask("GET", "/x", "Accept-Language: fr\n").await;
    eventually("one follows", || started.edge.stats().collapsed == 1).await;
    go.notify_one();
    assert_eq!(first.answer().await.unwrap().text(), "de");
    assert_eq!(second.answer().await.unwrap().text(), "fr");
    let hit = second.get_with("/x", "Accept-Language: fr\n").await;
    assert!(hit.cache().contains("; hit"));
}

#[tokio::test]
async fn what_is_invalidated_while_it_is_fetched_is_not_stored() {
    let (started, gate) = gated(|number| answer(200, FRESH, number.to_string()));
    let mut before = ask(&started, 1).await;
    eventually("the origin is asked", || started.origin.calls() == 1).await;
    started.edge.invalidate("/x");
    let mut after = ask(&started, 1).await;
    eventually("a second fetch begins", || started.origin.calls() == 2).await;
    gate.add_permits(2);
    assert_eq!(before[0].answer().await.unwrap().text().len(), 1);
    let new = after[0].answer().await.unwrap();
    let hit = after[0].get("/x").await;
    assert_eq!(hit.text(), new.text());
    assert_eq!(started.origin.calls(), 2);
}

#[tokio::test]
async fn what_is_too_large_is_passed_through() {
    const PIECES: usize = 160;
    for fields in [
        FRESH.to_owned(),
        format!("{FRESH}\ncontent-length: {}", PIECES << 16),
    ] {
        let origin =
            Scripted::plain(move |_, _| with_body(200, &fields, endless(PIECES, &Arc::default())));
        let started = start(origin);
        // Together, since each goes at the pace of the slowest.
        let reads = ask(&started, 3)
            .await
            .into_iter()
            .map(|mut client| tokio::spawn(async move { client.answer().await }));
        for read in reads.collect::<Vec<_>>() {
            let answer = read.await.unwrap().expect("a whole answer");
            assert_eq!(answer.body.len(), PIECES << 16);
        }
        assert_eq!(started.edge.stats().entries, 0);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_origin_up() {
    const PIECES: usize = 4096;
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let origin = Scripted::plain(move |_, _| with_body(200, FRESH, endless(PIECES, &count)));
    let started = start(origin);
    let mut clients = ask(&started, 1).await;
    let mut head = clients[0].answer_head().await.unwrap();
    // What is stored at most, the window, and what sockets hold.
    let object_max = usize::try_from(config().object_max_bytes).unwrap() >> 16;
    eventually("more has come than is stored", || {
        made.load(Ordering::SeqCst) > object_max
    })
    .await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert!(made.load(Ordering::SeqCst) < PIECES / 2);
    }
    assert!(clients[0].body(&mut head).await);
    assert_eq!(head.body.len(), PIECES << 16);
}

#[tokio::test]
async fn a_part_of_what_is_too_large_is_asked_for_as_such() {
    let origin = Scripted::plain(
        |request, _| match &*crate::origin::field(request, "range") {
            "bytes=1-2" => answer(206, "content-range: bytes 1-2/9999999", "12"),
            _ => with_body(
                200,
                "cache-control: max-age=9\ncontent-length: 9999999",
                endless(1, &Arc::default()),
            ),
        },
    );
    let started = start(origin);
    let mut client = started.client().await;
    let part = client.get_with("/x", "Range: bytes=1-2\n").await;
    assert_eq!((part.status, part.text()), (206, "12"));
}
