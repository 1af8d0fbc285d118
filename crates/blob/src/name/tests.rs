use super::{BucketName, BucketNameError, ObjectKey, ObjectKeyError};

fn bucket(name: &str) -> Option<BucketNameError> {
    BucketName::new(name).err()
}

#[test]
fn bucket_names_follow_s3() {
    for good in [
        "abc",
        "a-b.c-d",
        "0ab",
        "a".repeat(63).as_str(),
        "1.2.3.4.5",
    ] {
        assert_eq!(bucket(good), None, "{good}");
    }
    assert_eq!(bucket("ab"), Some(BucketNameError::Length { len: 2 }));
    assert_eq!(
        bucket(&"a".repeat(64)),
        Some(BucketNameError::Length { len: 64 })
    );
    assert_eq!(
        bucket("aBc"),
        Some(BucketNameError::Character { found: 'B' })
    );
    assert_eq!(
        bucket("a/b"),
        Some(BucketNameError::Character { found: '/' })
    );
    for shape in ["-ab", "ab-", ".ab", "ab.", "a..b", "a.-b", "a-.b"] {
        assert_eq!(bucket(shape), Some(BucketNameError::Shape), "{shape}");
    }
    assert_eq!(bucket("192.168.5.4"), Some(BucketNameError::IpAddress));
    for reserved in ["xn--abc", "abc-s3alias", "a--x-s3"] {
        assert!(
            matches!(bucket(reserved), Some(BucketNameError::Reserved { .. })),
            "{reserved}"
        );
    }
}

#[test]
fn keys_are_any_utf8_of_1_to_1024_bytes() {
    for good in [
        "a",
        "../..//etc",
        "\0\u{1}",
        "ключ",
        "a".repeat(1024).as_str(),
    ] {
        assert_eq!(ObjectKey::new(good).expect(good).as_str(), good);
    }
    assert_eq!(
        ObjectKey::new("").err(),
        Some(ObjectKeyError::Length { len: 0 })
    );
    let long = "é".repeat(513);
    assert_eq!(
        ObjectKey::new(&long).err(),
        Some(ObjectKeyError::Length { len: 1026 })
    );
    assert_eq!(
        ObjectKey::from_bytes(b"\xff").err(),
        Some(ObjectKeyError::NotUtf8)
    );
}
