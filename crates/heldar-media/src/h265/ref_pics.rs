//! Short-term reference picture sets of H.265 (7.3.7, 7.4.8): read only to reach what stands behind them.

use crate::bits::{BitError, BitReader};

/// Most pictures in one set: `sps_max_dec_pic_buffering_minus1` is at most 15 (A.4.2).
const MAX_PICTURES: usize = 16;

/// Distances of one set in picture order count: first those before the picture, then those after it.
#[derive(Clone, Debug, Default)]
struct Set {
    before: Vec<i32>,
    after: Vec<i32>,
}

/// Passes over `count` sets.
pub(super) fn skip(r: &mut BitReader<'_>, count: u32) -> Result<(), BitError> {
    let mut previous = Set::default();
    for index in 0..count {
        // In a parameter set the reference is always the set before (7.4.8, delta_idx_minus1).
        let predicted = index > 0 && r.flag()?;
        previous = if predicted { read_predicted(r, &previous)? } else { read_explicit(r)? };
    }
    Ok(())
}

fn read_explicit(r: &mut BitReader<'_>) -> Result<Set, BitError> {
    let max = MAX_PICTURES as u32;
    let before = r.ue_max(max, "num_negative_pics")?;
    let after = r.ue_max(max, "num_positive_pics")?;
    let mut list = |count: u32, sign: i32| {
        let mut poc = 0i32;
        (0..count)
            .map(|_| {
                let step = r.ue_max(0x7fff, "delta_poc_s_minus1")? + 1;
                r.skip(1)?; // used_by_curr_pic_s_flag
                poc = poc.saturating_add(sign * step as i32);
                Ok(poc)
            })
            .collect::<Result<Vec<i32>, BitError>>()
    };
    Ok(Set { before: list(before, -1)?, after: list(after, 1)? })
}

/// Derives a set from the one before it (equations 7-61 and 7-62).
fn read_predicted(r: &mut BitReader<'_>, reference: &Set) -> Result<Set, BitError> {
    let negative = r.flag()?;
    let step = r.ue_max(0x7fff, "abs_delta_rps_minus1")? as i32 + 1;
    let delta = if negative { -step } else { step };
    // Flag j belongs to the j-th picture of the reference, the last one to the reference itself.
    let distances = reference.before.iter().chain(&reference.after).chain(std::iter::once(&0));
    let mut set = Set::default();
    for distance in distances {
        let used = r.flag()?;
        let kept = used || r.flag()?; // use_delta_flag, inferred 1 when used_by_curr_pic_flag is 1
        let poc = distance.saturating_add(delta);
        match poc {
            _ if !kept => {}
            ..=-1 => set.before.push(poc),
            1.. => set.after.push(poc),
            0 => {}
        }
    }
    if set.before.len() > MAX_PICTURES || set.after.len() > MAX_PICTURES {
        return Err(BitError::Range("short_term_ref_pic_set"));
    }
    // The order within a set matters only for the values, which are compared by sign alone from here on; the standard
    // sorts by distance, which keeps flag j at picture j of the next prediction.
    set.before.sort_unstable_by(|a, b| b.cmp(a));
    set.after.sort_unstable();
    Ok(set)
}
