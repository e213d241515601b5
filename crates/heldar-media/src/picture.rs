//! One pass over a coded picture: what it is, and its bytes as they are kept.
//!
//! Owns: which NAL units stay in an access unit, and what makes a picture a sync sample or a leading picture.
//! Never: the meaning of parameter sets, which is for [`crate::ParamTracker`].

use bytes::{Bytes, BytesMut};

use crate::nal::{self, Item, LengthPrefixed};
use crate::{SyncKind, VideoCodec, h264, h265};

/// How a picture relates to the random access picture that it follows in decoding order (H.265 3.73).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leading {
    /// It is presented after it, or the standard has no such mark (H.264).
    No,
    /// Presented before it and decodable all the same: RADL.
    Decodable,
    /// Presented before it and not decodable when decoding starts there: RASL.
    Undecodable,
}

/// A coded picture, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// NAL units, each behind its length in four bytes, without those that [`read_picture`] takes out.
    pub payload: Bytes,
    /// Whether decoding can start here.
    pub sync: SyncKind,
    /// Leading or not.
    pub leading: Leading,
    /// Parameter sets that came with it, in order, without lengths.
    pub parameter_sets: Vec<Bytes>,
    /// Sync samples: the picture parameter set that the first slice refers to.
    pub pps_id: Option<u8>,
    /// NAL units that could not be read and were left out: empty ones, and what stood behind a wrong length.
    pub damaged: u32,
}

/// Bytes without any slice: nothing that a decoder could show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no picture in these bytes ({damaged} unreadable NAL units)")]
pub struct NoPicture {
    /// NAL units that could not be read.
    pub damaged: u32,
    /// Parameter sets found all the same; cameras send them in packets of their own.
    pub parameter_sets: Vec<Bytes>,
}

/// What becomes of a NAL unit.
enum Fate {
    /// A slice: kept.
    Slice,
    /// Kept.
    Keep,
    /// Handed out beside the picture.
    ParameterSet,
    /// Left out.
    Drop,
}

/// Reads a picture in the framing of files (NAL units behind four-byte lengths).
///
/// Parameter sets, access unit delimiters, filler data and ends of sequence are taken out (ISO/IEC 14496-15 5.3.2, 8.3.2:
/// `avc1` and `hvc1` keep parameter sets in the sample entry). The bytes are copied only when something had to go from
/// between or behind what stays; otherwise the payload shares them.
///
/// # Errors
/// [`NoPicture`] when no slice is left.
pub fn read_picture(codec: VideoCodec, data: &Bytes) -> Result<Picture, NoPicture> {
    let mut facts = Facts::new(codec);
    let mut kept = Kept::default();
    let mut parameter_sets = Vec::new();
    let mut damaged = 0;
    for item in LengthPrefixed::new(data) {
        let Item::Unit(range) = item else {
            damaged += 1;
            continue;
        };
        match facts.see(&data[range.clone()]) {
            Fate::Slice | Fate::Keep => kept.add(range),
            Fate::ParameterSet => parameter_sets.push(data.slice(range)),
            Fate::Drop => {}
        }
    }
    if !facts.has_slice {
        return Err(NoPicture { damaged, parameter_sets });
    }
    let sync = facts.sync();
    Ok(Picture {
        payload: kept.take(data),
        sync,
        leading: facts.leading,
        parameter_sets,
        pps_id: facts.pps_id.filter(|_| sync.is_sync()),
        damaged,
    })
}

/// What stays of the bytes, as adjoining stretches.
#[derive(Default)]
struct Kept {
    stretches: Vec<std::ops::Range<usize>>,
}

impl Kept {
    /// Keeps a NAL unit, whose length prefix stands before the range.
    fn add(&mut self, unit: std::ops::Range<usize>) {
        let start = unit.start - nal::LENGTH_SIZE;
        match self.stretches.last_mut() {
            Some(last) if last.end == start => last.end = unit.end,
            _ => self.stretches.push(start..unit.end),
        }
    }

    fn take(self, data: &Bytes) -> Bytes {
        if let [only] = &self.stretches[..] {
            return data.slice(only.clone());
        }
        let mut out = BytesMut::with_capacity(self.stretches.iter().map(|s| s.len()).sum());
        for stretch in self.stretches {
            out.extend_from_slice(&data[stretch]);
        }
        out.freeze()
    }
}

/// What the NAL units seen so far say of the picture.
struct Facts {
    codec: VideoCodec,
    has_slice: bool,
    /// Sync kind that every slice so far allows.
    slices: Option<SyncKind>,
    /// H.264: a recovery point with frame count 0 came before the slices.
    recovery_point: bool,
    leading: Leading,
    pps_id: Option<u8>,
}

impl Facts {
    fn new(codec: VideoCodec) -> Self {
        Facts {
            codec,
            has_slice: false,
            slices: None,
            recovery_point: false,
            leading: Leading::No,
            pps_id: None,
        }
    }

    fn see(&mut self, unit: &[u8]) -> Fate {
        let Some(header) = unit.first() else { return Fate::Drop };
        match self.codec {
            VideoCodec::H264 => self.see_h264(*header, unit),
            VideoCodec::H265 => self.see_h265(*header, unit),
        }
    }

    fn see_h264(&mut self, header: u8, unit: &[u8]) -> Fate {
        use h264::NalType;
        match NalType::of(header) {
            NalType::IdrSlice => self.slice(SyncKind::Closed, || h264::slice_pps_id(unit).ok()),
            NalType::Slice => self.slice(SyncKind::None, || h264::slice_pps_id(unit).ok()),
            NalType::DataPartition => self.slice(SyncKind::None, || None),
            NalType::Sei => {
                if !self.has_slice && h264::recovery_frame_count(unit) == Some(0) {
                    self.recovery_point = true;
                }
                Fate::Keep
            }
            NalType::Sps | NalType::Pps => Fate::ParameterSet,
            NalType::Delimiter | NalType::End | NalType::Filler | NalType::OtherParameterSet => Fate::Drop,
            NalType::Other => Fate::Keep,
        }
    }

    fn see_h265(&mut self, header: u8, unit: &[u8]) -> Fate {
        use h265::NalType;
        // The header has two bytes (7.3.1.1); without them nothing can be said.
        let Some(layer) = h265::layer_id(unit) else { return Fate::Drop };
        let kind = NalType::of(header);
        let sync = match kind {
            NalType::IdrSlice | NalType::BrokenLinkSlice => SyncKind::Closed,
            NalType::CleanRandomAccessSlice => SyncKind::Open,
            _ => SyncKind::None,
        };
        match kind {
            NalType::Delimiter | NalType::End | NalType::Filler => Fate::Drop,
            // Further layers hold no base pictures and their parameter sets have no place in `hvcC`.
            NalType::Vps | NalType::Sps | NalType::Pps if layer > 0 => Fate::Drop,
            NalType::Vps | NalType::Sps | NalType::Pps => Fate::ParameterSet,
            NalType::Sei | NalType::Other => Fate::Keep,
            _ if layer > 0 => Fate::Keep,
            NalType::DecodableLeadingSlice => {
                self.leading = Leading::Decodable;
                self.slice(sync, || None)
            }
            NalType::SkippedLeadingSlice => {
                self.leading = Leading::Undecodable;
                self.slice(sync, || None)
            }
            _ => self.slice(sync, || h265::slice_pps_id(unit)),
        }
    }

    /// Notes a slice. All slices of a sync sample are of its kind; where they differ the stream is damaged, and nothing
    /// can start there.
    fn slice(&mut self, sync: SyncKind, pps_id: impl FnOnce() -> Option<u8>) -> Fate {
        self.slices = Some(match self.slices {
            None => {
                self.pps_id = pps_id();
                sync
            }
            Some(before) if before == sync => sync,
            Some(_) => SyncKind::None,
        });
        self.has_slice = true;
        Fate::Slice
    }

    fn sync(&self) -> SyncKind {
        match self.slices {
            Some(SyncKind::None) if self.recovery_point => SyncKind::Open,
            Some(sync) => sync,
            None => SyncKind::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(units: &[&[u8]]) -> Bytes {
        let mut out = BytesMut::new();
        for unit in units {
            nal::push(&mut out, unit);
        }
        out.freeze()
    }

    /// What is left of the units, and the picture's kind.
    fn check(codec: VideoCodec, units: &[&[u8]], kept: &[usize], sync: SyncKind, leading: Leading) {
        let picture = read_picture(codec, &framed(units)).unwrap();
        let expect: Vec<&[u8]> = kept.iter().map(|at| units[*at]).collect();
        assert_eq!(picture.payload, framed(&expect), "{units:?}");
        assert_eq!((picture.sync, picture.leading, picture.damaged), (sync, leading, 0), "{units:?}");
    }

    const SEI_RECOVERY_0: &[u8] = &[6, 6, 1, 0b1100_0000, 0x80];
    const SEI_RECOVERY_2: &[u8] = &[6, 6, 1, 0b0111_0000, 0x80];
    const SEI_USER_THEN_RECOVERY_0: &[u8] = &[6, 5, 2, 9, 9, 6, 1, 0b1100_0000, 0x80];

    #[test]
    fn h264_pictures() {
        use SyncKind::{Closed, None, Open};
        let check = |units: &[&[u8]], kept: &[usize], sync| {
            check(VideoCodec::H264, units, kept, sync, Leading::No);
        };
        check(&[&[0x65, 0x88]], &[0], Closed);
        check(&[&[0x41, 0x9a]], &[0], None);
        check(&[&[9, 0xf0], &[0x67, 1], &[0x68, 2], &[6, 5, 0, 0x80], &[0x65, 0x88]], &[3, 4], Closed);
        check(&[&[0x65, 0x88], &[12, 0xff], &[0x65, 0x44], &[10]], &[0, 2], Closed);
        check(&[&[0x65, 0x88], &[0x41, 0x9a]], &[0, 1], None);
        check(&[SEI_RECOVERY_0, &[0x41, 0x9a]], &[0, 1], Open);
        check(&[SEI_USER_THEN_RECOVERY_0, &[0x41, 0x9a]], &[0, 1], Open);
        check(&[SEI_RECOVERY_2, &[0x41, 0x9a]], &[0, 1], None);
        check(&[SEI_RECOVERY_0, &[0x65, 0x88]], &[0, 1], Closed);
        check(&[&[0x41, 0x9a], SEI_RECOVERY_0], &[0, 1], None);
    }

    #[test]
    fn h265_pictures() {
        use SyncKind::{Closed, None, Open};
        for (kind, sync, leading) in [
            (1u8, None, Leading::No),
            (6, None, Leading::Decodable),
            (7, None, Leading::Decodable),
            (8, None, Leading::Undecodable),
            (9, None, Leading::Undecodable),
            (16, Closed, Leading::No),
            (18, Closed, Leading::No),
            (19, Closed, Leading::No),
            (20, Closed, Leading::No),
            (21, Open, Leading::No),
            (22, None, Leading::No),
        ] {
            let slice = [kind << 1, 1, 0xaf];
            check(VideoCodec::H265, &[&slice], &[0], sync, leading);
            check(
                VideoCodec::H265,
                &[&[70, 1, 0x50], &[64, 1], &[66, 1], &[68, 1], &[78, 1, 5], &slice, &[76, 1], &[72, 1]],
                &[4, 5],
                sync,
                leading,
            );
        }
    }

    #[test]
    fn what_needs_no_change_is_shared() {
        let data = framed(&[&[0x67, 1], &[0x68, 2], &[0x65, 0x88, 1], &[0x65, 0x89, 1]]);
        let picture = read_picture(VideoCodec::H264, &data).unwrap();
        assert_eq!(picture.payload.as_ptr(), data[12..].as_ptr());
        assert_eq!(picture.parameter_sets, [&[0x67, 1][..], &[0x68, 2]]);
        assert_eq!(picture.parameter_sets[0].as_ptr(), data[4..].as_ptr());
    }

    #[test]
    fn damage_is_left_out_and_counted() {
        let mut data = framed(&[&[0x65, 0x88], &[], &[0x65, 0x44]]).to_vec();
        data.extend([0, 0, 1, 0, 0x65]);
        let picture = read_picture(VideoCodec::H264, &data.into()).unwrap();
        assert_eq!(picture.payload, framed(&[&[0x65, 0x88], &[0x65, 0x44]]));
        assert_eq!(picture.damaged, 2);
        let nothing = read_picture(VideoCodec::H264, &framed(&[&[0x67, 1], &[]])).unwrap_err();
        assert_eq!(nothing, NoPicture { damaged: 1, parameter_sets: vec![Bytes::from_static(&[0x67, 1])] });
        assert_eq!(read_picture(VideoCodec::H265, &framed(&[&[0x26]])).unwrap_err().damaged, 0);
    }

    #[test]
    fn the_slice_names_its_parameter_set() {
        // first_mb_in_slice 0, slice_type 7, pic_parameter_set_id 2
        let data = framed(&[&[0x65, 0b1000_1000, 0b0111_0000]]);
        assert_eq!(read_picture(VideoCodec::H264, &data).unwrap().pps_id, Some(2));
        // first_slice_segment_in_pic_flag 1, no_output_of_prior_pics_flag 0, slice_pic_parameter_set_id 1
        let data = framed(&[&[19 << 1, 1, 0b1001_0000]]);
        assert_eq!(read_picture(VideoCodec::H265, &data).unwrap().pps_id, Some(1));
    }

    proptest! {
        #[test]
        fn never_panics_and_is_stable(h265: bool, units in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..8), tail in proptest::collection::vec(any::<u8>(), 0..7)) {
            let codec = if h265 { VideoCodec::H265 } else { VideoCodec::H264 };
            let refs: Vec<&[u8]> = units.iter().map(|u| &u[..]).collect();
            let mut data = framed(&refs).to_vec();
            data.extend(tail);
            if let Ok(picture) = read_picture(codec, &data.into()) {
                // What was cleaned once has nothing left to take out.
                let again = read_picture(codec, &picture.payload).unwrap();
                prop_assert_eq!(&again.payload, &picture.payload);
                prop_assert_eq!((again.sync, again.leading), (picture.sync, picture.leading));
                prop_assert_eq!((again.damaged, again.parameter_sets.len()), (0, 0));
            }
        }
    }
}
