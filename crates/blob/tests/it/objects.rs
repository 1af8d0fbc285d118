//! What is put can be got, listed, overwritten and deleted.

use fractus_blob::{ETag, ObjectMeta, Precondition, ReadError, WriteError};

use crate::{bucket, fresh, get, get_range, key, list, open, pattern, put};

#[test]
fn what_was_put_is_got() {
    let (_dir, store) = fresh();
    let meta = ObjectMeta {
        content_type: Some("text/plain".to_owned()),
        user: vec![("colour".to_owned(), "blue".to_owned())],
    };
    let mut writer = store.writer(&bucket(), &key("greeting"), meta.clone());
    writer.write(b"hello, ").expect("written");
    writer.write(b"world").expect("written");
    let committed = writer.finish().wait().expect("acknowledged");
    let object = store
        .get(&bucket(), &key("greeting"))
        .expect("readable")
        .expect("there");
    assert_eq!(object.meta(), &meta);
    let info = object.info();
    assert_eq!(info.key, key("greeting"));
    assert_eq!(info.size, 12);
    assert_eq!(
        info.etag.to_string(),
        "e4d7f1b4ed2e42d15898f4b27b019da4",
        "the MD5 S3 gives"
    );
    assert_eq!(Some(info.etag), committed.etag);
    assert_eq!(
        (info.version, info.modified_ms),
        (committed.version, committed.modified_ms)
    );
    assert_eq!(
        get(&store, "greeting").expect("readable"),
        Some(b"hello, world".to_vec())
    );
    let head = store
        .head(&bucket(), &key("greeting"))
        .expect("readable")
        .expect("there");
    assert_eq!(head, (info.clone(), meta));
    assert_eq!(get(&store, "absent").expect("readable"), None);
}

#[test]
fn an_overwritten_object_is_the_later_one_and_readers_keep_theirs() {
    let (_dir, store) = fresh();
    let first = put(&store, "key", b"first").expect("put");
    let object = store
        .get(&bucket(), &key("key"))
        .expect("readable")
        .expect("there");
    let second = put(&store, "key", b"second").expect("put");
    assert!(second.version > first.version);
    assert_eq!(
        get(&store, "key").expect("readable"),
        Some(b"second".to_vec())
    );
    store
        .delete(&bucket(), &key("key"), Precondition::None)
        .wait()
        .expect("deleted");
    assert_eq!(get(&store, "key").expect("readable"), None);
    let old = object
        .read(0..u64::MAX)
        .next_block()
        .expect("readable")
        .expect("content");
    assert_eq!(&old[..], b"first");
    store
        .delete(&bucket(), &key("key"), Precondition::None)
        .wait()
        .expect("deleted again");
}

#[test]
fn objects_of_all_sizes_are_read_whole_and_in_ranges() {
    let (_dir, store) = fresh();
    let block = 64 << 10;
    let mib = 1 << 20;
    let sizes = [
        0,
        1,
        block - 1,
        block,
        block + 1,
        2 * block,
        5 * block + 3,
        mib,
        mib + 1,
        3 * mib + 17,
    ];
    for size in sizes {
        let content = pattern(size);
        put(&store, "object", &content).expect("put");
        assert_eq!(
            get(&store, "object").expect("readable").as_ref(),
            Some(&content),
            "{size}"
        );
        let cuts = [
            0,
            1,
            size / 3,
            size / 2,
            block,
            mib,
            size.saturating_sub(1),
            size,
            size + 5,
        ];
        for from in cuts {
            for to in cuts {
                let expected = content
                    .get(from.min(size)..to.min(size))
                    .unwrap_or_default();
                let range = from as u64..to as u64;
                let found = get_range(&store, "object", range).expect("readable");
                assert!(found.as_deref() == Some(expected), "{from}..{to} of {size}");
            }
        }
    }
}

#[test]
fn a_big_object_is_invisible_until_it_is_complete() {
    let (dir, store) = fresh();
    let content = pattern(5 << 20);
    let mut writer = store.writer(&bucket(), &key("big"), ObjectMeta::default());
    let mut abandoned = store.writer(&bucket(), &key("abandoned"), ObjectMeta::default());
    for piece in content.chunks(100_000) {
        writer.write(piece).expect("written");
        abandoned.write(piece).expect("written");
        assert_eq!(list(&store, "", "", 10), (vec![], false));
    }
    drop(abandoned);
    writer.finish().wait().expect("acknowledged");
    assert_eq!(
        get(&store, "big").expect("readable").as_ref(),
        Some(&content)
    );
    drop(store);
    std::fs::remove_dir_all(dir.path().join("index")).expect("there is an index");
    let store = open(&dir);
    assert_eq!(
        get(&store, "big").expect("readable").as_ref(),
        Some(&content)
    );
    assert_eq!(list(&store, "", "", 10), (vec!["big".to_owned()], false));
}

#[test]
fn listings_are_ordered_paged_and_filtered() {
    let (_dir, store) = fresh();
    let mut names = [
        "a/1",
        "a/2",
        "a/../3",
        "b",
        "a",
        "B",
        "ü",
        "a/\u{10ffff}",
        "\0",
        "a//",
    ];
    for name in names {
        put(&store, name, name.as_bytes()).expect("put");
    }
    names.sort_unstable();
    assert_eq!(
        list(&store, "", "", 100),
        (names.map(str::to_owned).to_vec(), false)
    );
    let under_a: Vec<_> = names
        .iter()
        .filter(|n| n.starts_with("a/"))
        .copied()
        .collect();
    assert_eq!(list(&store, "a/", "", 100).0, under_a);
    let mut paged: Vec<String> = Vec::new();
    loop {
        let after = paged.last().cloned().unwrap_or_default();
        let (page, truncated) = list(&store, "", &after, 3);
        paged.extend(page);
        if !truncated {
            break;
        }
    }
    assert_eq!(paged, names);
    assert_eq!(
        list(&store, "a/", "b", 100),
        (vec![], false),
        "nothing behind the prefix"
    );
    assert_eq!(list(&store, "", "", 0), (vec![], true));
}

#[test]
fn buckets_do_not_see_each_other() {
    let (_dir, store) = fresh();
    let other = fractus_blob::BucketName::new("bucket2").expect("a bucket name");
    store
        .create_bucket(&other, fractus_blob::BucketSettings::default())
        .wait()
        .expect("created");
    put(&store, "key", b"one").expect("put");
    assert!(store.get(&other, &key("key")).expect("readable").is_none());
    let mut writer = store.writer(&other, &key("key"), ObjectMeta::default());
    writer.write(b"two").expect("written");
    writer.finish().wait().expect("acknowledged");
    assert_eq!(get(&store, "key").expect("readable"), Some(b"one".to_vec()));
    assert_eq!(list(&store, "", "", 9).0, ["key"]);
}

#[test]
fn there_must_be_a_bucket() {
    let (_dir, store) = fresh();
    let none = fractus_blob::BucketName::new("none").expect("a bucket name");
    let put = store
        .writer(&none, &key("key"), ObjectMeta::default())
        .finish()
        .wait();
    assert!(matches!(put, Err(WriteError::NoSuchBucket { .. })));
    let delete = store.delete(&none, &key("key"), Precondition::None).wait();
    assert!(matches!(delete, Err(WriteError::NoSuchBucket { .. })));
    assert!(matches!(
        store.get(&none, &key("key")),
        Err(ReadError::NoSuchBucket { .. })
    ));
    let query = fractus_blob::ListQuery {
        prefix: "",
        start_after: "",
        limit: 1,
    };
    assert!(matches!(
        store.list(&none, query),
        Err(ReadError::NoSuchBucket { .. })
    ));
}

#[test]
fn preconditions_are_kept() {
    let (_dir, store) = fresh();
    let try_put = |condition: Precondition| {
        let writer = store.writer(&bucket(), &key("key"), ObjectMeta::default());
        let mut writer = writer.precondition(condition);
        writer.write(b"content").expect("written");
        writer
            .finish()
            .wait()
            .map(|committed| committed.etag.expect("objects have one"))
    };
    let failed =
        |result: Result<ETag, WriteError>| matches!(result, Err(WriteError::PreconditionFailed));
    let wrong = ETag {
        md5: [0; 16],
        parts: 0,
    };
    assert!(failed(try_put(Precondition::IfPresent)));
    assert!(failed(try_put(Precondition::IfMatch(wrong))));
    let etag = try_put(Precondition::IfAbsent).expect("absent");
    assert!(failed(try_put(Precondition::IfAbsent)));
    assert!(failed(try_put(Precondition::IfMatch(wrong))));
    try_put(Precondition::IfMatch(etag)).expect("matches");
    try_put(Precondition::IfPresent).expect("present");
    let delete = |condition| store.delete(&bucket(), &key("key"), condition).wait();
    assert!(matches!(
        delete(Precondition::IfMatch(wrong)),
        Err(WriteError::PreconditionFailed)
    ));
    delete(Precondition::IfMatch(etag)).expect("matches");
    assert!(matches!(
        delete(Precondition::IfPresent),
        Err(WriteError::PreconditionFailed)
    ));
}

#[test]
fn too_much_metadata_is_refused() {
    let (_dir, store) = fresh();
    let user = vec![("name".to_owned(), "v".repeat(9000))];
    let meta = ObjectMeta {
        content_type: None,
        user,
    };
    let refused = store.writer(&bucket(), &key("key"), meta).finish().wait();
    assert!(matches!(refused, Err(WriteError::MetaTooLarge)));
    let user = vec![("n".repeat(32), "v".repeat(32)); 128];
    let meta = ObjectMeta {
        content_type: Some("t".repeat(256)),
        user,
    };
    store
        .writer(&bucket(), &key("key"), meta.clone())
        .finish()
        .wait()
        .expect("at the limit");
    let (_, found) = store
        .head(&bucket(), &key("key"))
        .expect("readable")
        .expect("there");
    assert_eq!(found, meta);
}
