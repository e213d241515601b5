//! The parameter sets of one video track, by id.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::bits::BitError;
use crate::{RecordError, ReorderLimit, VideoCodec, VideoParams, h264, h265, nal};

/// Longest parameter set that is kept. Real ones have tens of bytes, with all scaling lists some hundred.
const MAX_LEN: usize = 4096;

/// What a parameter set brought, in ascending weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum News {
    /// It was known, or unreadable.
    None,
    /// A new or changed picture parameter set.
    Picture,
    /// A new or changed sequence or video parameter set.
    Sequence,
}

#[derive(Clone, Debug)]
enum Sps {
    H264(h264::Sps),
    H265(h265::Sps),
}

#[derive(Clone, Debug)]
struct Pps {
    nal: Bytes,
    sps_id: u8,
    /// False when the sequence parameter set it refers to changed after it came.
    fresh: bool,
}

/// All sets that came, the newest of each id.
#[derive(Clone, Debug)]
pub(crate) struct ParamSets {
    codec: VideoCodec,
    vps: BTreeMap<u8, Bytes>,
    sps: BTreeMap<u8, (Bytes, Sps)>,
    pps: BTreeMap<u8, Pps>,
    /// The sequence parameter set that came or was referred to last.
    active_sps: Option<u8>,
    rejected: u64,
}

/// A parameter set that has been read.
enum Parsed {
    Vps(u8),
    Sps(u8, Sps),
    Pps {
        id: u8,
        sps_id: u8,
    },
    /// Another NAL unit.
    Other,
}

impl ParamSets {
    pub(crate) fn new(codec: VideoCodec) -> Self {
        ParamSets {
            codec,
            vps: BTreeMap::new(),
            sps: BTreeMap::new(),
            pps: BTreeMap::new(),
            active_sps: None,
            rejected: 0,
        }
    }

    pub(crate) fn codec(&self) -> VideoCodec {
        self.codec
    }

    pub(crate) fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Keeps a parameter set, or several with start codes between them, and says what is new.
    pub(crate) fn take(&mut self, data: &[u8]) -> News {
        nal::loose_units(data).map(|unit| self.take_one(&data[unit])).max().unwrap_or(News::None)
    }

    fn take_one(&mut self, nal: &[u8]) -> News {
        if self.knows(nal) {
            return News::None;
        }
        // A set may share its bytes with a whole picture, which must not stay in memory for it.
        let kept = || Bytes::copy_from_slice(nal);
        let parsed = if nal.len() <= MAX_LEN { self.parse(nal) } else { Err(BitError::Range("length")) };
        match parsed {
            Ok(Parsed::Vps(id)) => {
                self.vps.insert(id, kept());
                News::Sequence
            }
            Ok(Parsed::Sps(id, sps)) => {
                self.sps.insert(id, (kept(), sps));
                self.active_sps = Some(id);
                for pps in self.pps.values_mut().filter(|p| p.sps_id == id) {
                    pps.fresh = false;
                }
                News::Sequence
            }
            Ok(Parsed::Pps { id, sps_id }) => {
                self.pps.insert(id, Pps { nal: kept(), sps_id, fresh: true });
                News::Picture
            }
            Ok(Parsed::Other) => News::None,
            Err(_) => {
                self.rejected = self.rejected.saturating_add(1);
                News::None
            }
        }
    }

    /// True for a set that is kept already, byte for byte: cameras repeat them with every sync sample.
    fn knows(&mut self, nal: &[u8]) -> bool {
        if let Some(pps) = self.pps.values_mut().find(|p| p.nal == nal) {
            pps.fresh = true;
            return true;
        }
        self.sps.values().any(|(kept, _)| kept == nal) || self.vps.values().any(|kept| kept == nal)
    }

    fn parse(&self, nal: &[u8]) -> Result<Parsed, BitError> {
        let header = *nal.first().ok_or(BitError::End)?;
        match self.codec {
            VideoCodec::H264 => match h264::NalType::of(header) {
                h264::NalType::Sps => h264::Sps::parse(nal).map(|s| Parsed::Sps(s.id, Sps::H264(s))),
                h264::NalType::Pps => {
                    h264::Pps::parse(nal).map(|p| Parsed::Pps { id: p.id, sps_id: p.sps_id })
                }
                _ => Ok(Parsed::Other),
            },
            VideoCodec::H265 => match h265::NalType::of(header) {
                h265::NalType::Vps => h265::vps_id(nal).map(Parsed::Vps),
                h265::NalType::Sps => h265::Sps::parse(nal).map(|s| Parsed::Sps(s.id, Sps::H265(s))),
                h265::NalType::Pps => {
                    h265::Pps::parse(nal).map(|p| Parsed::Pps { id: p.id, sps_id: p.sps_id })
                }
                _ => Ok(Parsed::Other),
            },
        }
    }

    /// True when a picture refers, through its picture parameter set, to another sequence parameter set than the active.
    pub(crate) fn refers_elsewhere(&self, pps_id: Option<u8>) -> bool {
        self.referred(pps_id).is_some_and(|id| Some(id) != self.active_sps)
    }

    /// The sequence parameter set that a picture refers to, if it is there.
    fn referred(&self, pps_id: Option<u8>) -> Option<u8> {
        let sps_id = self.pps.get(&pps_id?)?.sps_id;
        self.sps.contains_key(&sps_id).then_some(sps_id)
    }

    /// Parameters of a track from all sets that are there.
    pub(crate) fn build(&mut self, pps_id: Option<u8>) -> Result<(VideoParams, ReorderLimit), RecordError> {
        let active = self.referred(pps_id).or(self.active_sps).ok_or(RecordError::Missing)?;
        self.active_sps = Some(active);
        self.drop_stale();
        let sps_nals: Vec<Bytes> = self.sps.values().map(|(nal, _)| nal.clone()).collect();
        let pps_nals: Vec<Bytes> = self.pps.values().map(|p| p.nal.clone()).collect();
        match self.sps.get(&active).map(|(_, sps)| sps).ok_or(RecordError::Missing)? {
            Sps::H264(sps) => Ok((h264::video_params(sps, &sps_nals, &pps_nals)?, sps.reorder_limit())),
            Sps::H265(sps) => {
                let vps_nals: Vec<Bytes> = self.vps.values().cloned().collect();
                let params = h265::video_params(sps, &vps_nals, &sps_nals, &pps_nals)?;
                Ok((params, ReorderLimit::Known(sps.max_num_reorder)))
            }
        }
    }

    /// Drops picture parameter sets that were made for an older sequence parameter set of the same id, where newer ones
    /// came; decoders would read them with the wrong meaning.
    fn drop_stale(&mut self) {
        let renewed: Vec<u8> = self.pps.values().filter(|p| p.fresh).map(|p| p.sps_id).collect();
        self.pps.retain(|_, p| p.fresh || !renewed.contains(&p.sps_id));
    }
}
