//! Reading everything, to know.

use crate::error::{Damage, ReadError};
use crate::format::{Head, SUPERBLOCK_BYTES, Superblock};
use crate::limits::MAX_DAMAGE;
use crate::recover::DamagedPlace;
use crate::scan::{Found, Span, check_payload, walk};
use crate::shared::Shared;
use crate::volumes::{VolumeFile, volume_numbers};

/// What [`crate::Store::verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Volumes read.
    pub volumes: u32,
    /// Needles read, whole ones and damaged ones.
    pub needles: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Damaged places, up to [`MAX_DAMAGE`]; the first ones.
    pub damaged: Vec<DamagedPlace>,
    /// How many there are.
    pub damaged_count: u64,
}

impl VerifyReport {
    fn add(&mut self, place: DamagedPlace) {
        self.damaged_count += 1;
        if self.damaged.len() < MAX_DAMAGE {
            self.damaged.push(place);
        }
    }
}

/// Reads every needle of every volume up to what is published now. Calls `progress` after each
/// volume.
pub(crate) fn verify(
    shared: &Shared,
    progress: &mut dyn FnMut(&VerifyReport),
) -> Result<VerifyReport, ReadError> {
    let (active, tail) = shared.published();
    let failed = |volume| {
        move |source| ReadError::Volume {
            volume,
            offset: 0,
            source,
        }
    };
    let names = shared.volumes.disk().list().map_err(failed(0))?;
    let mut report = VerifyReport::default();
    let mut expected = 1;
    for volume in volume_numbers(&names)
        .into_iter()
        .filter(|&volume| volume <= active)
    {
        for missing in expected..volume {
            let (offset, reason) = (0, Damage::Missing);
            report.add(DamagedPlace {
                volume: missing,
                offset,
                reason,
                object: None,
            });
        }
        expected = volume + 1;
        let file = shared.volumes.file(volume).map_err(failed(volume))?;
        let len = file.len().map_err(failed(volume))?;
        let end = if volume == active { tail } else { len };
        let span = Span {
            volume,
            from: SUPERBLOCK_BYTES,
            end,
            synced: end,
        };
        verify_volume(shared, &file, span, &mut report).map_err(failed(volume))?;
        report.volumes += 1;
        progress(&report);
    }
    Ok(report)
}

fn verify_volume(
    shared: &Shared,
    file: &VolumeFile,
    span: Span,
    report: &mut VerifyReport,
) -> std::io::Result<()> {
    let volume = span.volume;
    let mut superblock = vec![0; usize::try_from(SUPERBLOCK_BYTES).expect("a page")];
    let read = file.read_at(&mut superblock, 0)?;
    let superblock = Superblock::decode(&superblock[..read], volume);
    if superblock.is_err() {
        report.add(DamagedPlace {
            volume,
            offset: 0,
            reason: Damage::Magic,
            object: None,
        });
    }
    let ending = walk(&shared.volumes, &**file, span, &mut |found| match found {
        Found::Damage { offset, damage } => {
            report.add(DamagedPlace {
                volume,
                offset,
                reason: damage,
                object: None,
            });
            Ok(())
        }
        Found::Needle { offset, head } => {
            report.needles += 1;
            report.bytes += head.needle_len();
            if let Err(reason) = check_payload(&**file, offset, &head)? {
                report.add(DamagedPlace {
                    volume,
                    offset,
                    reason,
                    object: object_of(&head),
                });
            }
            std::io::Result::Ok(())
        }
    })?;
    if !ending.closed && volume != shared.published().0 {
        let (offset, reason) = (ending.tail, Damage::Unsealed);
        report.add(DamagedPlace {
            volume,
            offset,
            reason,
            object: None,
        });
    }
    Ok(())
}

fn object_of(head: &Head) -> Option<(crate::name::BucketName, crate::name::ObjectKey)> {
    head.bucket().zip(head.key())
}
