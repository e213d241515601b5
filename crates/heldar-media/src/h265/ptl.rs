//! `profile_tier_level()` of H.265 (7.3.3).

use crate::bits::{BitError, BitReader};

/// General profile, tier and level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileTierLevel {
    /// `general_profile_space`, 0 to 3.
    pub profile_space: u8,
    /// `general_tier_flag`: true for the High tier.
    pub high_tier: bool,
    /// `general_profile_idc`, 0 to 31.
    pub profile_idc: u8,
    /// `general_profile_compatibility_flag[0]` (most significant bit) to `[31]`.
    pub compatibility: u32,
    /// The 48 bits from `general_progressive_source_flag` up to the level.
    pub constraints: [u8; 6],
    /// `general_level_idc`: 30 times the level.
    pub level_idc: u8,
}

impl ProfileTierLevel {
    /// Reads it with its profile present, and passes over what it says of sub-layers.
    pub(super) fn read(r: &mut BitReader<'_>, max_sub_layers_minus1: u32) -> Result<Self, BitError> {
        let profile_space = r.bits(2)? as u8;
        let high_tier = r.flag()?;
        let profile_idc = r.bits(5)? as u8;
        let compatibility = r.bits(32)?;
        let mut constraints = [0; 6];
        for byte in &mut constraints {
            *byte = r.bits(8)? as u8;
        }
        let level_idc = r.bits(8)? as u8;
        let mut sub_layer_bits = 0;
        for _ in 0..max_sub_layers_minus1 {
            sub_layer_bits += if r.flag()? { 88 } else { 0 }; // sub_layer_profile_present_flag
            sub_layer_bits += if r.flag()? { 8 } else { 0 }; // sub_layer_level_present_flag
        }
        if max_sub_layers_minus1 > 0 {
            r.skip(2 * 8usize.saturating_sub(max_sub_layers_minus1 as usize))?; // reserved_zero_2bits
        }
        r.skip(sub_layer_bits)?;
        Ok(ProfileTierLevel { profile_space, high_tier, profile_idc, compatibility, constraints, level_idc })
    }
}
