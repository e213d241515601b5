use super::*;
use crate::ReorderLimit::{self, AtMost, Known};
use crate::Vui;
use crate::test_bits::Bits;
use heldar_base::Micros;
use proptest::prelude::*;

/// By x264 at 322x182: High profile, scaling lists, usability information with a decoder model.
const SPS_HIGH: &[u8] = &[
    0x67, 0x64, 0x00, 0x0d, 0xac, 0xd9, 0x41, 0x51, 0x9e, 0x22, 0x6c, 0x04, 0x40, 0x00, 0x00, 0x03, 0x00,
    0x40, 0x00, 0x00, 0x0c, 0x98, 0x08, 0x00, 0x49, 0x3c, 0x00, 0x12, 0x4f, 0xa4, 0xc3, 0x00, 0x78, 0xa1,
    0x4c, 0xb0,
];

#[test]
fn an_x264_set() {
    let sps = Sps::parse(SPS_HIGH).unwrap();
    assert_eq!((sps.profile_idc, sps.constraints, sps.level_idc, sps.id), (100, 0, 13, 0));
    assert_eq!((sps.width, sps.height, sps.width_mbs, sps.height_mbs), (322, 182, 21, 12));
    assert_eq!(sps.vui.picture_interval, Some(Micros::from_millis(40)));
    assert_eq!((sps.reorder_limit(), sps.vui.pixel_aspect()), (Known(2), None));
}

/// A set with the elements that decide about reordering, and without usability information.
struct Set {
    profile: u8,
    constraints: u8,
    level: u8,
    order_type: u32,
    ref_frames: u32,
    /// Macroblocks per row and column.
    size: (u32, u32),
}

const USUAL: Set =
    Set { profile: 77, constraints: 0, level: 31, order_type: 0, ref_frames: 1, size: (80, 45) };

impl Set {
    fn bits(&self) -> Bits {
        let mut bits = Bits::after(&[0x67, self.profile, self.constraints, self.level]);
        bits.ue(0);
        if super::sps::HIGH_PROFILES.contains(&self.profile) {
            bits.ue(1).ue(0).ue(0).fixed(2, 0);
        }
        bits.ue(0).ue(self.order_type);
        match self.order_type {
            0 => bits.ue(0),
            1 => bits.fixed(1, 0).se(-3).se(4).ue(2).se(5).se(-6),
            _ => &mut bits,
        };
        bits.ue(self.ref_frames).fixed(1, 0).ue(self.size.0 - 1).ue(self.size.1 - 1);
        bits.fixed(2, 3); // frame_mbs_only_flag, direct_8x8_inference_flag
        bits
    }
}

fn check_reorder(set: &Set, expect: ReorderLimit) {
    let mut bits = set.bits();
    let sps = Sps::parse(&bits.fixed(2, 0).nal()).unwrap();
    assert_eq!((sps.width, sps.height), (set.size.0 * 16, set.size.1 * 16));
    assert_eq!(sps.reorder_limit(), expect, "{sps:?}");
}

#[test]
fn reorder_limits_without_usability_information() {
    check_reorder(&USUAL, AtMost(5));
    check_reorder(&Set { order_type: 1, ..USUAL }, AtMost(5));
    check_reorder(&Set { order_type: 2, ..USUAL }, Known(0));
    check_reorder(&Set { profile: 66, ..USUAL }, Known(0));
    check_reorder(&Set { constraints: 0x80, ..USUAL }, Known(0));
    check_reorder(&Set { profile: 100, ..USUAL }, AtMost(5));
    check_reorder(&Set { profile: 100, constraints: 0x0c, ..USUAL }, Known(0));
    check_reorder(&Set { profile: 100, constraints: 0x10, ..USUAL }, Known(0));
    check_reorder(&Set { profile: 44, ..USUAL }, Known(0));
    check_reorder(&Set { ref_frames: 0, ..USUAL }, Known(0));
    check_reorder(&Set { level: 51, size: (40, 23), ..USUAL }, AtMost(16));
    check_reorder(&Set { level: 40, size: (120, 68), ..USUAL }, AtMost(4));
    check_reorder(&Set { level: 11, size: (22, 18), ..USUAL }, AtMost(2));
    // Level 1b has less room than level 1.1, and no level less than one frame.
    check_reorder(&Set { level: 11, constraints: 0x10, size: (22, 18), ..USUAL }, AtMost(1));
    check_reorder(&Set { level: 10, size: (120, 68), ..USUAL }, AtMost(1));
}

/// What stands behind the flag for cropping.
fn check_tail(tail: impl Fn(&mut Bits), expect: Option<(u32, u32, Vui)>) {
    let mut bits = USUAL.bits();
    tail(&mut bits);
    let got = Sps::parse(&bits.nal()).ok().map(|s| (s.width, s.height, s.vui));
    assert_eq!(got, expect);
}

#[test]
fn cropping_and_usability_information() {
    let none = Vui::default();
    check_tail(
        |b| {
            b.fixed(1, 1).ue(1).ue(2).ue(3).ue(4).fixed(1, 0);
        },
        Some((1274, 706, none)),
    );
    // All of it and more.
    check_tail(
        |b| {
            b.fixed(1, 1).ue(0).ue(640).ue(0).ue(0).fixed(1, 0);
        },
        None,
    );
    check_tail(
        |b| {
            b.fixed(1, 1).ue(u32::MAX - 1).ue(u32::MAX - 1).ue(0).ue(0).fixed(1, 0);
        },
        None,
    );
    // Aspect 40:33 by table, unspecified, extended, and a ratio of zero.
    let aspect = |idc: u32| {
        move |b: &mut Bits| {
            b.fixed(2, 1).fixed(1, 1).fixed(8, idc).fixed(32, 0);
        }
    };
    let with_aspect = |aspect| Some((1280, 720, Vui { sample_aspect: aspect, ..none }));
    check_tail(aspect(5), with_aspect(Some((40, 33))));
    check_tail(aspect(0), with_aspect(None));
    check_tail(aspect(17), with_aspect(None));
    check_tail(aspect(255), with_aspect(None));
    check_tail(
        |b| {
            b.fixed(2, 1).fixed(1, 1).fixed(8, 255).fixed(16, 6).fixed(16, 4);
        },
        with_aspect(Some((6, 4))),
    );
    // Timing that ends in the middle: what came before it stands.
    check_tail(
        |b| {
            b.fixed(2, 1).fixed(1, 1).fixed(8, 5).fixed(3, 0).fixed(1, 1).fixed(8, 1);
        },
        with_aspect(Some((40, 33))),
    );
    // 15 pictures per second, then a reorder depth.
    let timing = |units: u32, scale: u32| {
        move |b: &mut Bits| {
            b.fixed(2, 1).fixed(4, 0).fixed(1, 1).fixed(32, units).fixed(32, scale).fixed(1, 0);
            b.fixed(3, 0).fixed(1, 1).fixed(1, 0).ue(0).ue(0).ue(0).ue(0).ue(1).ue(2);
        }
    };
    let with_timing = |us: Option<i64>| {
        Some((1280, 720, Vui { picture_interval: us.map(Micros), max_num_reorder: Some(1), ..none }))
    };
    check_tail(timing(1, 30), with_timing(Some(66_667)));
    check_tail(timing(0, 30), with_timing(None));
    check_tail(timing(1, 0), with_timing(None));
    check_tail(timing(1, u32::MAX), with_timing(None));
    check_tail(timing(u32::MAX, 1), with_timing(None));
}

#[test]
fn fields_have_half_the_height() {
    let mut bits = Bits::after(&[0x67, 77, 0, 30]);
    bits.ue(0).ue(0).ue(0).ue(0).ue(1).fixed(1, 0).ue(44).ue(17);
    // frame_mbs_only_flag 0, mb_adaptive_frame_field_flag, direct_8x8_inference_flag, cropping in units of two rows each
    bits.fixed(3, 0b001).fixed(1, 1).ue(0).ue(0).ue(0).ue(2).fixed(1, 0);
    let sps = Sps::parse(&bits.nal()).unwrap();
    assert_eq!((sps.width, sps.height, sps.frame_mbs_only), (720, 568, false));
}

#[test]
fn sizes_that_no_file_can_hold_are_refused() {
    for size in [(4096, 1), (1, 4096), (u32::MAX - 1, 1)] {
        let mut bits = Set { size, ..USUAL }.bits();
        assert!(Sps::parse(&bits.fixed(2, 0).nal()).is_err());
    }
}

#[test]
fn ids() {
    let pps = Bits::after(&[0x68]).ue(200).ue(31).fixed(8, 0).nal();
    assert_eq!(Pps::parse(&pps), Ok(Pps { id: 200, sps_id: 31 }));
    assert!(Pps::parse(&Bits::after(&[0x68]).ue(256).ue(0).nal()).is_err());
    assert!(Pps::parse(&Bits::after(&[0x68]).ue(0).ue(32).nal()).is_err());
    assert!(Pps::parse(&[0x67, 0xff]).is_err());
    assert!(Pps::parse(&[]).is_err());
    assert_eq!(slice_pps_id(&Bits::after(&[0x41]).ue(3599).ue(5).ue(255).nal()), Ok(255));
    assert!(slice_pps_id(&Bits::after(&[0x41]).ue(0).ue(10).ue(0).nal()).is_err());
}

#[test]
fn recovery_points() {
    for (sei, count) in [
        (&[6u8, 6, 1, 0xc4, 0x80][..], Some(0)),
        (&[6, 6, 1, 0x40, 0x80], Some(1)),
        // Behind a message of 300 bytes whose type takes two.
        (&[&[6, 255, 10, 255, 45][..], &[7; 300], &[6, 1, 0xc4, 0x80]].concat(), Some(0)),
        (&[6, 5, 1, 0xc4, 0x80], None),
        (&[6, 6, 9, 0xc4, 0x80], None),
        (&[6, 6, 0, 0x80], None),
        (&[6, 255, 255, 255], None),
        (&[6], None),
        (&[], None),
    ] {
        assert_eq!(recovery_frame_count(sei), count, "{sei:?}");
    }
}

#[test]
fn records_refuse_what_they_cannot_hold() {
    use crate::RecordError::{Malformed, Missing, TooLong, TooMany};
    let sps = Sps::parse(SPS_HIGH).unwrap();
    let some = |n: usize| vec![bytes::Bytes::from_static(&[0x68, 1]); n];
    let record = |s: Vec<bytes::Bytes>, p: Vec<bytes::Bytes>| config_record(&sps, &s, &p);
    assert_eq!(record(vec![], some(1)), Err(Missing));
    assert_eq!(record(some(1), vec![]), Err(Missing));
    assert_eq!(record(some(32), some(1)), Err(TooMany));
    assert_eq!(record(some(1), some(256)), Err(TooMany));
    assert_eq!(record(some(1), vec![vec![0; 65_536].into()]), Err(TooLong));
    let whole = record(some(2), some(3)).unwrap();
    assert_eq!(parameter_sets(&whole).unwrap(), some(5));
    for end in 0..whole.len() - 4 {
        assert_eq!(parameter_sets(&whole.slice(..end)), Err(Malformed), "{end}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(data in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _sps = Sps::parse(&data);
        let _ids = (Pps::parse(&data), slice_pps_id(&data), recovery_frame_count(&data));
        let _sets = parameter_sets(&data.into());
    }

    /// Damage deep inside a set that is otherwise good.
    #[test]
    fn damaged_sets_do_not_panic(
        damage in proptest::collection::vec((4usize..36, any::<u8>()), 1..6),
        end in 4usize..=36,
        profile in proptest::sample::select(super::sps::HIGH_PROFILES.to_vec()),
    ) {
        let mut data = SPS_HIGH.to_vec();
        data[1] = profile;
        for (at, byte) in damage { data[at] = byte; }
        data.truncate(end);
        if let Ok(sps) = Sps::parse(&data) {
            prop_assert!((1..=65_535).contains(&sps.width) && (1..=65_535).contains(&sps.height));
            prop_assert!(sps.reorder_limit().max() <= 16);
            prop_assert_eq!(codec_string(&sps).len(), 11);
        }
    }
}
