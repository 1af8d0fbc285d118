use super::count;
use crate::origin::test_support::{put, store};

#[tokio::test]
async fn counting_has_an_end_and_says_so() {
    // Buckets `closed` and `open`, in this order.
    let (_folder, store) = store().await;
    for (bucket, objects) in [("closed", 3), ("open", 2)] {
        for number in 0..objects {
            put(&store, bucket, &format!("cat-{number}"), b"meow").await;
        }
    }
    let counted = |per_bucket, total| {
        let counted = count(&store, per_bucket, total).unwrap();
        let figures = counted
            .iter()
            .map(|counted| (counted.objects, counted.bytes, counted.capped));
        figures.collect::<Vec<_>>()
    };
    assert_eq!(counted(9, 9), [(3, 12, false), (2, 8, false)]);
    assert_eq!(counted(2, 9), [(2, 8, true), (2, 8, false)]);
    assert_eq!(counted(9, 4), [(3, 12, false), (1, 4, true)]);
    assert_eq!(counted(9, 3), [(3, 12, false), (1, 4, true)]);
}
