//! Fair shares of a capacity.

/// Divides `capacity` among claims so that no share can grow without a smaller one shrinking (max-min fairness): each
/// gets its claim, or the common level if that is less. All that is claimed is given out; where the level does not divide
/// evenly, some get a byte more.
pub fn fair_shares(capacity: u64, claims: &[u64]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..claims.len()).collect();
    order.sort_unstable_by_key(|index| claims.get(*index).copied());
    let mut shares = vec![0; claims.len()];
    let mut left = capacity;
    for (served, index) in order.iter().enumerate() {
        let level = left / (claims.len() - served) as u64;
        if let (Some(share), Some(claim)) = (shares.get_mut(*index), claims.get(*index)) {
            *share = level.min(*claim);
            left -= *share;
        }
    }
    shares
}
