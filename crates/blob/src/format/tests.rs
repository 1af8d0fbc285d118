use super::{
    ChunkRef, Draft, Entry, Head, Kind, Mark, Meta, Place, Stamp, Superblock, decode_chunks,
    encode_chunks, encode_object_meta,
};
use crate::error::{Damage, SuperblockError};
use crate::object::{ETag, ObjectMeta};

const PLACE: Place = Place {
    store: [7; 16],
    volume: 3,
    offset: 4096,
};
const STAMP: Stamp = Stamp {
    sequence: 42,
    synced: 4096,
    time_ms: 1_700_000_000_000,
};
const TAG: ETag = ETag {
    md5: [0xab; 16],
    parts: 0,
};

fn meta() -> ObjectMeta {
    ObjectMeta {
        content_type: Some("text/plain".to_owned()),
        user: vec![
            ("a".to_owned(), "1".to_owned()),
            ("b".to_owned(), String::new()),
        ],
    }
}

fn needle(data: &[u8]) -> Vec<u8> {
    let meta = encode_object_meta(TAG, &meta());
    let size = data.len() as u64;
    let mut draft = Draft::new(Kind::Object, ("bucket", "key"), &meta, data.to_vec(), size);
    draft.stamp(PLACE, STAMP);
    draft.slices().concat()
}

trait Concat {
    fn concat(&self) -> Vec<u8>;
}

impl Concat for [std::io::IoSlice<'_>; 2] {
    fn concat(&self) -> Vec<u8> {
        self.iter()
            .flat_map(|slice| slice.iter().copied())
            .collect()
    }
}

/// The bytes that `docs/formats.md` promises. A change here is a change of the format.
#[test]
fn a_needle_is_laid_out_as_documented() {
    let bytes = needle(b"hello");
    assert_eq!(bytes.len() % 8, 0);
    assert_eq!(&bytes[0..4], b"FNDL");
    assert_eq!(
        &bytes[8..16],
        [1, 0, 6, 0, 3, 0, 53, 0],
        "kind, flags, lengths"
    );
    assert_eq!(&bytes[16..24], [5, 0, 0, 0, 0, 0, 0, 0], "payload length");
    assert_eq!(&bytes[24..32], 42_u64.to_le_bytes(), "sequence");
    assert_eq!(&bytes[32..40], 4096_u64.to_le_bytes(), "synced");
    assert_eq!(&bytes[40..48], 1_700_000_000_000_u64.to_le_bytes(), "time");
    assert_eq!(&bytes[48..56], 5_u64.to_le_bytes(), "size");
    assert_eq!(&bytes[56..64], [0; 8], "reserved");
    assert_eq!(&bytes[64..73], b"bucketkey");
    assert_eq!(&bytes[73..77], [1, 0, 20, 0], "the entity tag's field");
    let table = 73 + 53;
    assert_eq!(
        &bytes[table..table + 4],
        0x9a71_bb4c_u32.to_le_bytes(),
        "crc32c of hello"
    );
    assert_eq!(&bytes[table + 4..table + 9], b"hello");
    assert_eq!(
        &bytes[136..140],
        &bytes[4..8],
        "the trailer repeats the head's checksum"
    );
    assert_eq!(&bytes[140..], b"LDNF");
}

#[test]
fn a_head_says_what_was_written() {
    let bytes = needle(&vec![5; 70_000]);
    let head = Head::decode(&bytes, PLACE).expect("whole");
    assert_eq!(head.kind(), Kind::Object);
    assert_eq!(head.bucket().expect("named").as_str(), "bucket");
    assert_eq!(head.key().expect("named").as_str(), "key");
    assert_eq!(
        (head.sequence(), head.synced(), head.time_ms()),
        (42, 4096, 1_700_000_000_000)
    );
    assert_eq!((head.size(), head.data_len()), (70_000, 70_000));
    assert_eq!(head.needle_len(), bytes.len() as u64);
    let found = Meta::decode(head.meta()).expect("whole");
    assert_eq!((found.etag, found.object), (Some(TAG), meta()));
    let data = &bytes[head.len()..head.len() + 70_000];
    head.check_blocks(0, data).expect("all blocks");
    head.check_blocks(1, &data[65_536..])
        .expect("the last block alone");
    head.check_trailer(&bytes[head.len() + 70_000..])
        .expect("the trailer");
}

#[test]
fn a_head_is_bound_to_its_place() {
    let bytes = needle(b"hello");
    for place in [
        Place {
            store: [8; 16],
            ..PLACE
        },
        Place { volume: 4, ..PLACE },
        Place {
            offset: 4104,
            ..PLACE
        },
    ] {
        assert_eq!(Head::decode(&bytes, place).err(), Some(Damage::Head));
    }
}

#[test]
fn any_bytes_are_parsed_without_panic() {
    let whole = needle(b"hello");
    for len in 0..whole.len() {
        assert!(
            Head::decode(&whole[..len], PLACE).is_ok() == (len >= 130),
            "cut to {len}"
        );
    }
    let mut random = crate::disk::sim::Random(1);
    for _ in 0..20_000 {
        let len = usize::try_from(random.below(200)).expect("small");
        let mut bytes: Vec<u8> = (0..len).map(|_| random.next().to_le_bytes()[0]).collect();
        if let Some(start) = bytes.get_mut(..4) {
            start.copy_from_slice(b"FNDL");
        }
        assert!(Head::decode(&bytes, PLACE).is_err());
        let _parsed = Meta::decode(&bytes);
        assert!(decode_chunks(&bytes, u64::MAX).is_none());
        assert!(Superblock::decode(&bytes, 1).is_err());
    }
}

#[test]
fn chunk_lists_are_whole_and_ascending() {
    let chunk = |end| ChunkRef {
        end,
        sequence: 1,
        offset: 4096,
        volume: 1,
        head_len: 99,
    };
    let list = [chunk(10), chunk(25)];
    assert_eq!(
        decode_chunks(&encode_chunks(&list), 25).as_deref(),
        Some(&list[..])
    );
    assert_eq!(decode_chunks(&encode_chunks(&list), 26), None, "too short");
    assert_eq!(
        decode_chunks(&encode_chunks(&[chunk(25), chunk(25)]), 25),
        None,
        "not ascending"
    );
    assert_eq!(decode_chunks(&encode_chunks(&[]), 0), None, "empty");
    assert_eq!(
        decode_chunks(&encode_chunks(&[chunk(0), chunk(5)]), 5),
        None,
        "an empty chunk"
    );
}

#[test]
fn superblocks_say_whose_they_are() {
    let superblock = Superblock {
        store: [7; 16],
        volume: 3,
        created_ms: 5,
    };
    let bytes = superblock.encode();
    assert_eq!(Superblock::decode(&bytes, 3), Ok(superblock));
    assert_eq!(
        Superblock::decode(&bytes, 4),
        Err(SuperblockError::Volume { found: 3 })
    );
    assert_eq!(
        Superblock::decode(&bytes[..4095], 3),
        Err(SuperblockError::Short)
    );
    let broken = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 2;
        Superblock::decode(&bytes, 3)
    };
    assert_eq!(broken(0), Err(SuperblockError::Magic));
    assert_eq!(broken(8), Err(SuperblockError::Version { version: 3 }));
    assert_eq!(broken(100), Err(SuperblockError::Checksum));
}

#[test]
fn index_values_round_trip() {
    let entry = Entry {
        volume: 1,
        head_len: 2,
        offset: 3,
        data_len: 4,
        etag: ETag {
            md5: [5; 16],
            parts: 6,
        },
        sequence: 7,
        size: 8,
        time_ms: 9,
    };
    assert_eq!(Entry::decode(&entry.encode()), Some(entry));
    assert_eq!(Entry::decode(&entry.encode()[1..]), None);
    let mark = Mark {
        store: [1; 16],
        volume: 2,
        offset: 3,
        sequence: 4,
    };
    assert_eq!(Mark::decode(&mark.encode()), Some(mark));
    assert_eq!(Mark::decode(b""), None);
}

#[test]
fn entity_tags_are_read_as_written() {
    let tag = ETag {
        md5: [0x0f; 16],
        parts: 12,
    };
    assert_eq!(tag.to_string(), format!("{}-12", "0f".repeat(16)));
    assert_eq!(tag.to_string().parse(), Ok(tag));
    assert_eq!(format!("\"{TAG}\"").parse(), Ok(TAG));
    for bad in [
        "",
        "\"",
        "abc",
        "zz",
        &"0g".repeat(16),
        &format!("{TAG}-0"),
        &format!("{TAG}-x"),
    ] {
        assert!(bad.parse::<ETag>().is_err(), "{bad}");
    }
    assert!(
        "é".repeat(16).parse::<ETag>().is_err(),
        "32 bytes that are no digits"
    );
}
