use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use fractus_func::BodyError;

use super::{Budget, Fill, Pushed, Reader};
use crate::store::Era;

fn fill(budget: u64) -> (Arc<Fill>, Arc<Budget>) {
    let budget = Arc::new(Budget::new(budget));
    let fill = Fill::new(Era::default(), Arc::clone(&budget));
    (Arc::new(fill), budget)
}

fn next(reader: &mut Reader) -> Poll<Option<Result<Bytes, BodyError>>> {
    reader.poll_next(&mut Context::from_waker(Waker::noop()))
}

fn piece(bytes: &'static str) -> Poll<Option<Result<Bytes, BodyError>>> {
    Poll::Ready(Some(Ok(Bytes::from_static(bytes.as_bytes()))))
}

#[test]
fn readers_read_at_their_own_pace() {
    let (fill, budget) = fill(100);
    let mut first = fill.read(None).unwrap();
    assert_eq!(next(&mut first), Poll::Pending);
    assert_eq!(fill.push(Bytes::from_static(b"one"), 100), Pushed::Kept);
    assert_eq!(next(&mut first), piece("one"));
    assert_eq!(fill.push(Bytes::from_static(b"two"), 100), Pushed::Kept);
    let mut part = fill.read(Some(6)).unwrap().narrow(2, 4);
    assert_eq!(next(&mut part), piece("e"));
    assert_eq!(next(&mut part), piece("tw"));
    assert_eq!(next(&mut part), Poll::Ready(None));
    assert_eq!(next(&mut first), piece("two"));
    fill.end(Ok(()));
    assert_eq!(next(&mut first), Poll::Ready(None));
    assert_eq!(fill.body(Some(6)).unwrap().unwrap().len(), 6);
    assert_eq!(fill.body(Some(7)).unwrap_err(), BodyError::Disconnected);
    drop((first, part, fill));
    assert_eq!(budget.used.load(Ordering::Relaxed), 0);
}

/// Beyond an object's size, and beyond what all fills may hold.
#[test]
fn what_is_too_much_is_passed_on_and_forgotten() {
    for (memory, object) in [(100, 5), (5, 100)] {
        let (fill, budget) = fill(memory);
        let (mut quick, mut slow) = (fill.read(None).unwrap(), fill.read(None).unwrap());
        assert_eq!(fill.push(Bytes::from_static(b"one"), object), Pushed::Kept);
        assert_eq!(
            fill.push(Bytes::from_static(b"two"), object),
            Pushed::Passing
        );
        for bytes in ["one", "two"] {
            assert_eq!(next(&mut quick), piece(bytes));
        }
        assert_eq!(budget.used.load(Ordering::Relaxed), 6);
        assert_eq!(next(&mut slow), piece("one"));
        assert_eq!(budget.used.load(Ordering::Relaxed), 3);
        assert!(fill.read(None).is_none(), "the beginning has gone");
        drop(slow);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
        assert!(fill.body(None).unwrap().is_none());
        fill.end(Err(BodyError::Stalled));
        let broken = Poll::Ready(Some(Err(BodyError::Stalled)));
        assert_eq!(next(&mut quick), broken);
    }
}

#[tokio::test]
async fn a_follower_that_goes_is_missed() {
    let (fill, _budget) = fill(100);
    fill.add_follower();
    let mut abandoned = std::pin::pin!(fill.abandoned(Duration::from_millis(1)));
    let poll = std::future::poll_fn(|cx| Poll::Ready(abandoned.as_mut().poll(cx)));
    assert_eq!(poll.await, Poll::Pending);
    fill.remove_follower();
    let waited = tokio::time::timeout(Duration::from_secs(20), abandoned).await;
    assert!(waited.is_ok(), "nobody is left, and nobody said so");
}
