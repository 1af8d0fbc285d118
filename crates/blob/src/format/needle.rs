//! The needle: one change, self-describing.

use std::io::IoSlice;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest, crc32_iscsi};

use crate::error::Damage;
use crate::format::{StoreId, u16_at, u32_at, u64_at};
use crate::limits::{BLOCK_BYTES, BUCKET_NAME_LEN, MAX_DATA_BYTES, MAX_KEY_BYTES, MAX_META_BYTES};
use crate::name::{BucketName, ObjectKey};

/// Needles begin and end on multiples of this.
pub(crate) const NEEDLE_ALIGN: usize = 8;
/// Bytes after the padded payload.
pub(crate) const TRAILER_BYTES: usize = 8;
/// Bytes of the longest head.
pub(crate) const HEAD_MAX_BYTES: usize = FIXED
    + *BUCKET_NAME_LEN.end()
    + MAX_KEY_BYTES
    + MAX_META_BYTES
    + 4 * MAX_DATA_BYTES.div_ceil(BLOCK_BYTES);

const FIXED: usize = 64;
const MAGIC: [u8; 4] = *b"FNDL";
const TRAILER_MAGIC: [u8; 4] = *b"LDNF";

const CHECKSUM_AT: usize = 4;
const KIND_AT: usize = 8;
const BUCKET_LEN_AT: usize = 10;
const KEY_LEN_AT: usize = 12;
const META_LEN_AT: usize = 14;
const DATA_LEN_AT: usize = 16;
const SEQUENCE_AT: usize = 24;
const SYNCED_AT: usize = 32;
const TIME_AT: usize = 40;
const SIZE_AT: usize = 48;

/// What a needle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// An object; the payload is its content.
    Object = 1,
    /// An object; the payload is the list of its chunks.
    ChunkedObject = 2,
    /// A piece of a chunked object. Means nothing until an object lists it.
    Chunk = 3,
    /// An object's deletion.
    Delete = 4,
    /// A bucket's creation, with its settings.
    BucketCreate = 5,
    /// A bucket's new settings.
    BucketSettings = 6,
    /// A bucket's deletion.
    BucketDelete = 7,
    /// Nothing but the proof that all before it is durable. Written on a clean shutdown.
    Mark = 8,
    /// As `Mark`, and the last needle of its volume.
    Seal = 9,
}

impl Kind {
    fn decode(byte: u8) -> Option<Self> {
        use Kind as K;
        let all = [
            K::Object,
            K::ChunkedObject,
            K::Chunk,
            K::Delete,
            K::BucketCreate,
            K::BucketSettings,
            K::BucketDelete,
            K::Mark,
            K::Seal,
        ];
        all.into_iter().find(|&kind| kind as u8 == byte)
    }
}

/// Where a needle belongs. Seeds its checksum, so that a needle written elsewhere, left over from
/// another store or copied to another volume is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) store: StoreId,
    pub(crate) volume: u32,
    pub(crate) offset: u64,
}

/// What the committer adds to a needle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) sequence: u64,
    /// The volume's bytes before this offset were durable when the needle was written.
    pub(crate) synced: u64,
    pub(crate) time_ms: u64,
}

fn head_checksum(place: Place, head: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    let mut seed = [0; 28];
    seed[..16].copy_from_slice(&place.store);
    seed[16..20].copy_from_slice(&place.volume.to_le_bytes());
    seed[20..].copy_from_slice(&place.offset.to_le_bytes());
    digest.update(&seed);
    digest.update(&head[..CHECKSUM_AT]);
    digest.update(&head[CHECKSUM_AT + 4..]);
    u32::try_from(digest.finalize()).expect("a CRC-32 has 32 bits")
}

fn padding(data_len: usize, head_len: usize) -> usize {
    (head_len + data_len).next_multiple_of(NEEDLE_ALIGN) - head_len - data_len
}

/// Whether a needle might begin with these bytes. Cheap.
pub(crate) fn is_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// A needle on its way to disk: complete but for its [`Stamp`] and [`Place`].
#[derive(Debug)]
pub(crate) struct Draft {
    head: Vec<u8>,
    /// Payload, padding and trailer.
    body: Vec<u8>,
}

impl Draft {
    /// A needle of `kind`. `size` is the content's length, of which `data` is a part, the whole
    /// or the chunk list.
    pub(crate) fn new(
        kind: Kind,
        name: (&str, &str),
        meta: &[u8],
        data: Vec<u8>,
        size: u64,
    ) -> Self {
        let (bucket, key) = name;
        assert!(
            meta.len() <= MAX_META_BYTES,
            "metadata were checked against their limits"
        );
        assert!(data.len() <= MAX_DATA_BYTES, "payloads are cut into chunks");
        let blocks = data.len().div_ceil(BLOCK_BYTES);
        let len = FIXED + bucket.len() + key.len() + meta.len() + 4 * blocks;
        let mut head = Vec::with_capacity(len);
        head.resize(FIXED, 0);
        head[..4].copy_from_slice(&MAGIC);
        head[KIND_AT] = kind as u8;
        let short = |len: usize| u16::try_from(len).expect("limited far below").to_le_bytes();
        head[BUCKET_LEN_AT..][..2].copy_from_slice(&short(bucket.len()));
        head[KEY_LEN_AT..][..2].copy_from_slice(&short(key.len()));
        head[META_LEN_AT..][..2].copy_from_slice(&short(meta.len()));
        let data_len = u32::try_from(data.len()).expect("limited far below");
        head[DATA_LEN_AT..][..4].copy_from_slice(&data_len.to_le_bytes());
        head[SIZE_AT..][..8].copy_from_slice(&size.to_le_bytes());
        head.extend_from_slice(bucket.as_bytes());
        head.extend_from_slice(key.as_bytes());
        head.extend_from_slice(meta);
        for block in data.chunks(BLOCK_BYTES) {
            head.extend_from_slice(&crc32_iscsi(block).to_le_bytes());
        }
        let mut body = data;
        body.resize(
            body.len() + padding(body.len(), head.len()) + TRAILER_BYTES,
            0,
        );
        Self { head, body }
    }

    /// Bytes of the needle.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    pub(crate) fn head_len(&self) -> u32 {
        u32::try_from(self.head.len()).expect("heads are far shorter")
    }

    pub(crate) fn data_len(&self) -> u32 {
        u32_at(&self.head, DATA_LEN_AT)
    }

    /// Binds the needle to its place and time.
    pub(crate) fn stamp(&mut self, place: Place, stamp: Stamp) {
        self.head[SEQUENCE_AT..][..8].copy_from_slice(&stamp.sequence.to_le_bytes());
        self.head[SYNCED_AT..][..8].copy_from_slice(&stamp.synced.to_le_bytes());
        self.head[TIME_AT..][..8].copy_from_slice(&stamp.time_ms.to_le_bytes());
        let checksum = head_checksum(place, &self.head).to_le_bytes();
        self.head[CHECKSUM_AT..][..4].copy_from_slice(&checksum);
        let trailer = self.body.len() - TRAILER_BYTES;
        self.body[trailer..][..4].copy_from_slice(&checksum);
        self.body[trailer + 4..].copy_from_slice(&TRAILER_MAGIC);
    }

    pub(crate) fn slices(&self) -> [IoSlice<'_>; 2] {
        [IoSlice::new(&self.head), IoSlice::new(&self.body)]
    }
}

/// A needle's head as read, its checksum verified.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    bytes: Bytes,
    kind: Kind,
}

impl Head {
    /// Bytes of the whole head that begins with `bytes`, by what its fixed part claims.
    pub(crate) fn claimed_len(bytes: &[u8]) -> Result<usize, Damage> {
        if bytes.len() < FIXED {
            return Err(Damage::Short);
        }
        if !is_magic(bytes) {
            return Err(Damage::Magic);
        }
        let data_len = u32_at(bytes, DATA_LEN_AT) as usize;
        let names =
            usize::from(u16_at(bytes, BUCKET_LEN_AT)) + usize::from(u16_at(bytes, KEY_LEN_AT));
        let meta = usize::from(u16_at(bytes, META_LEN_AT));
        let len = FIXED + names + meta + 4 * data_len.div_ceil(BLOCK_BYTES);
        if len > HEAD_MAX_BYTES {
            Err(Damage::Head)
        } else {
            Ok(len)
        }
    }

    /// Reads the head that begins with `bytes`; what follows it is ignored.
    pub(crate) fn decode(bytes: &[u8], place: Place) -> Result<Self, Damage> {
        let len = Self::claimed_len(bytes)?;
        let bytes = bytes.get(..len).ok_or(Damage::Short)?;
        if u32_at(bytes, CHECKSUM_AT) != head_checksum(place, bytes) {
            return Err(Damage::Head);
        }
        let kind = Kind::decode(bytes[KIND_AT]).ok_or(Damage::Nonsense)?;
        let head = Self {
            bytes: Bytes::copy_from_slice(bytes),
            kind,
        };
        let names_object = matches!(
            kind,
            Kind::Object | Kind::ChunkedObject | Kind::Chunk | Kind::Delete
        );
        let names_nothing = matches!(kind, Kind::Mark | Kind::Seal);
        let bucket_fits = names_nothing || head.bucket().is_some();
        let key_fits = !names_object || head.key().is_some();
        if bucket_fits && key_fits {
            Ok(head)
        } else {
            Err(Damage::Nonsense)
        }
    }

    fn text(&self, at: usize, len: usize) -> &str {
        str::from_utf8(&self.bytes[at..at + len]).unwrap_or_default()
    }

    fn bucket_len(&self) -> usize {
        u16_at(&self.bytes, BUCKET_LEN_AT).into()
    }

    fn key_len(&self) -> usize {
        u16_at(&self.bytes, KEY_LEN_AT).into()
    }

    fn meta_len(&self) -> usize {
        u16_at(&self.bytes, META_LEN_AT).into()
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn bucket(&self) -> Option<BucketName> {
        BucketName::new(self.text(FIXED, self.bucket_len())).ok()
    }

    pub(crate) fn key(&self) -> Option<ObjectKey> {
        ObjectKey::new(self.text(FIXED + self.bucket_len(), self.key_len())).ok()
    }

    pub(crate) fn meta(&self) -> &[u8] {
        &self.bytes[FIXED + self.bucket_len() + self.key_len()..][..self.meta_len()]
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn data_len(&self) -> usize {
        u32_at(&self.bytes, DATA_LEN_AT) as usize
    }

    pub(crate) fn sequence(&self) -> u64 {
        u64_at(&self.bytes, SEQUENCE_AT)
    }

    pub(crate) fn synced(&self) -> u64 {
        u64_at(&self.bytes, SYNCED_AT)
    }

    pub(crate) fn time_ms(&self) -> u64 {
        u64_at(&self.bytes, TIME_AT)
    }

    /// Bytes of the content.
    pub(crate) fn size(&self) -> u64 {
        u64_at(&self.bytes, SIZE_AT)
    }

    /// Bytes of the whole needle.
    pub(crate) fn needle_len(&self) -> u64 {
        let data = self.data_len();
        (self.len() + data + padding(data, self.len()) + TRAILER_BYTES) as u64
    }

    /// Checks payload bytes that begin at block `first` and end with a block or the payload.
    pub(crate) fn check_blocks(&self, first: usize, data: &[u8]) -> Result<(), Damage> {
        let table = &self.bytes[FIXED + self.bucket_len() + self.key_len() + self.meta_len()..];
        for (index, block) in data.chunks(BLOCK_BYTES).enumerate() {
            if crc32_iscsi(block) != u32_at(table, 4 * (first + index)) {
                let block = u32::try_from(first + index).expect("payloads have few blocks");
                return Err(Damage::Block { block });
            }
        }
        Ok(())
    }

    /// Checks a needle's last bytes: padding and trailer.
    pub(crate) fn check_trailer(&self, tail: &[u8]) -> Result<(), Damage> {
        let mut expected = vec![0; padding(self.data_len(), self.len())];
        expected.extend_from_slice(&self.bytes[CHECKSUM_AT..][..4]);
        expected.extend_from_slice(&TRAILER_MAGIC);
        if tail == expected {
            Ok(())
        } else {
            Err(Damage::Trailer)
        }
    }
}
