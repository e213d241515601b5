use super::*;
use crate::RecordError;
use crate::test_bits::Bits;
use heldar_base::Micros;
use proptest::prelude::*;

/// By x265 at 322x182: scaling lists, usability information with a decoder model.
const SPS: &[u8] = &[
    0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00,
    0x3c, 0xa0, 0x0a, 0x48, 0x0b, 0x9c, 0x95, 0x96, 0x56, 0x69, 0x24, 0xe5, 0x78, 0x0b, 0x40, 0x40, 0x00,
    0x00, 0x03, 0x00, 0x40, 0x00, 0x00, 0x06, 0x58, 0x03, 0x25, 0x97, 0x80, 0x04, 0x93, 0xc0, 0x01, 0x24,
    0xf8, 0x80,
];

#[test]
fn an_x265_set() {
    let sps = Sps::parse(SPS).unwrap();
    assert_eq!((sps.width, sps.height, sps.id, sps.vps_id), (322, 182, 0, 0));
    assert_eq!(sps.vui.picture_interval, Some(Micros::from_millis(40)));
    assert_eq!((sps.max_num_reorder, codec_string(&sps).as_str()), (2, "hvc1.1.6.L60.90"));
}

/// A set of Main profile up to the reorder depth, with `sub_layers` of them.
fn head(sub_layers: u32) -> Bits {
    let mut bits = Bits::after(&[0x42, 0x01]);
    bits.fixed(4, 3).fixed(3, sub_layers - 1).fixed(1, 1);
    bits.fixed(8, 1).fixed(32, 0x6000_0000).fixed(32, 0x9000_0000).fixed(16, 0).fixed(8, 93);
    for _ in 1..sub_layers {
        bits.fixed(2, 0b11); // profile and level of the sub-layer
    }
    if sub_layers > 1 {
        bits.fixed(2 * (9 - sub_layers), 0);
    }
    for _ in 1..sub_layers {
        for _ in 0..3 {
            bits.fixed(32, 0xffff_ffff);
        }
    }
    bits.ue(2).ue(1).ue(1280).ue(736).fixed(1, 1).ue(0).ue(0).ue(0).ue(8);
    bits.ue(0).ue(0).ue(4).fixed(1, 1);
    for layer in 0..sub_layers {
        bits.ue(4).ue(layer).ue(0);
    }
    bits
}

/// From the block sizes to the flag for usability information, with reference picture sets in between.
fn middle(bits: &mut Bits, sets: impl Fn(&mut Bits)) {
    for _ in 0..6 {
        bits.ue(1);
    }
    bits.fixed(1, 0).fixed(2, 0).fixed(1, 1).fixed(8, 0x77).ue(0).ue(0).fixed(1, 0);
    sets(bits);
    bits.fixed(1, 1).ue(2).fixed(18, 0x3_ffff); // two long-term pictures of 8 bits and a flag
    bits.fixed(2, 0);
}

/// Usability information of 12 pictures per second alone; read only when everything before it was.
fn timing(bits: &mut Bits) {
    bits.fixed(1, 1).fixed(4, 0).fixed(3, 0).fixed(1, 0);
    bits.fixed(1, 1).fixed(32, 1).fixed(32, 12).fixed(2, 0).fixed(1, 0);
}

fn check_sets(sets: impl Fn(&mut Bits)) {
    let mut bits = head(1);
    middle(&mut bits, sets);
    timing(&mut bits);
    let sps = Sps::parse(&bits.nal()).unwrap();
    assert_eq!((sps.width, sps.height, sps.id, sps.vps_id), (1280, 720, 2, 3));
    assert_eq!(sps.vui.picture_interval, Some(Micros(83_333)));
}

#[test]
fn reference_picture_sets() {
    check_sets(|b| {
        b.ue(0);
    });
    // -1, -3 and +2
    check_sets(|b| {
        b.ue(1).ue(2).ue(1).ue(0).fixed(1, 1).ue(1).fixed(1, 0).ue(1).fixed(1, 1);
    });
    check_sets(|b| {
        b.ue(3);
        // -1 and +1
        b.ue(1).ue(1).ue(0).fixed(1, 1).ue(0).fixed(1, 1);
        // Predicted at distance -1: -2, nothing (the picture itself), -1.
        b.fixed(1, 1).fixed(1, 1).ue(0).fixed(3, 0b111);
        // Predicted from two pictures: three flags, of which the second is followed by use_delta_flag.
        b.fixed(1, 1).fixed(1, 0).ue(1).fixed(1, 1).fixed(2, 0b01).fixed(1, 1);
    });
    check_sets(|b| {
        b.ue(4);
        // -1 and +1; then -1 and -2, nearest first
        b.ue(1).ue(1).ue(0).fixed(1, 1).ue(0).fixed(1, 1);
        b.fixed(1, 1).fixed(1, 1).ue(0).fixed(3, 0b111);
        // Only the nearest is kept, and at distance +1 it is the picture itself: none is left.
        b.fixed(1, 1).fixed(1, 0).ue(0).fixed(1, 1).fixed(4, 0);
        b.fixed(1, 1).fixed(1, 0).ue(0).fixed(1, 1);
    });
    check_sets(|b| {
        b.ue(3);
        b.ue(1).ue(0).ue(0).fixed(1, 1);
        // Neither picture is kept: none is left, and the next has one flag only.
        b.fixed(1, 1).fixed(1, 1).ue(0).fixed(2, 0b00).fixed(2, 0b00);
        b.fixed(1, 1).fixed(1, 0).ue(0).fixed(1, 1);
    });
}

#[test]
fn sub_layers_are_passed_over() {
    for layers in 1..=7 {
        let mut bits = head(layers);
        middle(&mut bits, |b| {
            b.ue(0);
        });
        // A decoder model for every layer, then the segmentation.
        bits.fixed(1, 1).fixed(4, 0).fixed(3, 0).fixed(1, 0);
        bits.fixed(1, 1).fixed(32, 1).fixed(32, 12).fixed(1, 1).ue(0).fixed(1, 1);
        bits.fixed(2, 0b11).fixed(1, 1).fixed(19, 0).fixed(8, 0).fixed(4, 0).fixed(15, 0);
        for layer in 0..layers {
            match layer % 3 {
                0 => bits.fixed(1, 1).ue(0).ue(1),
                1 => bits.fixed(2, 0b01).ue(0).ue(1),
                _ => bits.fixed(3, 0b001),
            };
            let entries = if layer % 3 == 2 { 1 } else { 2 };
            for _ in 0..2 * entries {
                bits.ue(1).ue(2).ue(3).ue(4).fixed(1, 0);
            }
        }
        bits.fixed(1, 1).fixed(3, 0).ue(77).ue(0).ue(0).ue(0).ue(0);
        let sps = Sps::parse(&bits.nal()).unwrap();
        assert_eq!(u32::from(sps.max_num_reorder), layers - 1);
        assert_eq!((sps.vui.min_spatial_segmentation, sps.ptl.level_idc), (77, 93), "{layers}");
    }
}

#[test]
fn damage_behind_the_reorder_depth_costs_only_what_follows() {
    let sps = Sps::parse(&head(2).nal()).unwrap();
    assert_eq!((sps.max_num_reorder, sps.vui.picture_interval), (1, None));
    assert!(Sps::parse(&SPS[..20]).is_err());
}

#[test]
fn codec_strings() {
    let base = Sps::parse(SPS).unwrap();
    let check = |change: fn(&mut ProfileTierLevel), expect: &str| {
        let mut sps = base.clone();
        change(&mut sps.ptl);
        assert_eq!(codec_string(&sps), expect);
    };
    check(|_| {}, "hvc1.1.6.L60.90");
    check(|p| p.constraints = [0; 6], "hvc1.1.6.L60.0");
    check(|p| p.constraints = [0xb0, 0, 0, 0x0a, 0, 0], "hvc1.1.6.L60.b0.0.0.a");
    // The example of ISO/IEC 14496-15 E.3 but for its case.
    check(
        |p| (p.profile_space, p.profile_idc, p.level_idc, p.compatibility) = (1, 2, 180, 0x2000_0000),
        "hvc1.A2.4.L180.90",
    );
    check(|p| (p.high_tier, p.profile_space) = (true, 3), "hvc1.C1.6.H60.90");
}

#[test]
fn ids() {
    let pps = Bits::after(&[0x44, 0x01]).ue(63).ue(15).fixed(8, 0).nal();
    assert_eq!(Pps::parse(&pps), Ok(Pps { id: 63, sps_id: 15 }));
    assert!(Pps::parse(&Bits::after(&[0x44, 0x01]).ue(64).ue(0).nal()).is_err());
    assert!(Pps::parse(&Bits::after(&[0x44, 0x01]).ue(0).ue(16).nal()).is_err());
    assert!(Pps::parse(&[0x42, 1, 0xff]).is_err());
    assert_eq!(vps_id(&[0x40, 1, 0xa0]), Ok(10));
    assert!(vps_id(&[0x42, 1, 0xa0]).is_err() && vps_id(&[0x40, 1]).is_err() && vps_id(&[]).is_err());
    assert_eq!(slice_pps_id(&Bits::after(&[0x02, 1]).fixed(1, 1).ue(5).nal()), Some(5));
    assert_eq!(slice_pps_id(&Bits::after(&[0x2a, 1]).fixed(2, 2).ue(5).nal()), Some(5));
    assert_eq!(slice_pps_id(&Bits::after(&[0x02, 1]).fixed(1, 0).ue(5).nal()), None);
    assert_eq!(
        (layer_id(&[0x41, 0x09]), layer_id(&[0x40, 0x01]), layer_id(&[0x40])),
        (Some(33), Some(0), None)
    );
}

#[test]
fn records_refuse_what_they_cannot_hold() {
    use RecordError::{Malformed, Missing, TooLong, TooMany};
    let sps = Sps::parse(SPS).unwrap();
    let some = |n: usize| vec![bytes::Bytes::from_static(&[0x44, 1]); n];
    assert_eq!(config_record(&sps, &[], &some(1), &some(1)), Err(Missing));
    assert_eq!(config_record(&sps, &some(1), &some(1), &[]), Err(Missing));
    assert_eq!(config_record(&sps, &some(1), &some(65_536), &some(1)), Err(TooMany));
    assert_eq!(config_record(&sps, &some(1), &some(1), &[vec![0; 65_536].into()]), Err(TooLong));
    let whole = config_record(&sps, &some(1), &some(2), &some(1)).unwrap();
    assert_eq!(parameter_sets(&whole).unwrap(), some(4));
    for end in 0..whole.len() {
        assert_eq!(parameter_sets(&whole.slice(..end)), Err(Malformed), "{end}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(data in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _sps = Sps::parse(&data);
        let _ids = (Pps::parse(&data), vps_id(&data), slice_pps_id(&data), layer_id(&data));
        let _sets = parameter_sets(&data.into());
    }

    /// Damage deep inside a set that is otherwise good.
    #[test]
    fn damaged_sets_do_not_panic(
        damage in proptest::collection::vec((2usize..53, any::<u8>()), 1..6),
        end in 3usize..=53,
    ) {
        let mut data = SPS.to_vec();
        for (at, byte) in damage { data[at] = byte; }
        data.truncate(end);
        if let Ok(sps) = Sps::parse(&data) {
            prop_assert!((1..=65_535).contains(&sps.width) && (1..=65_535).contains(&sps.height));
            prop_assert!(sps.max_num_reorder <= 15 && codec_string(&sps).starts_with("hvc1."));
            let set = [bytes::Bytes::from(data)];
            let record = config_record(&sps, &set, &set, &set).unwrap();
            prop_assert_eq!(parameter_sets(&record).unwrap().len(), 3);
        }
    }

    /// Any mixture of explicit and predicted sets, of any damage.
    #[test]
    fn any_reference_picture_sets(noise in proptest::collection::vec(any::<u8>(), 0..200), count in 0u32..=64) {
        let mut bits = head(1);
        middle(&mut bits, |b| {
            b.ue(count);
            for byte in &noise { b.fixed(8, u32::from(*byte)); }
        });
        prop_assert!(Sps::parse(&bits.nal()).is_ok());
    }
}
