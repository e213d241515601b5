//! Numbers that must not be guessed or must differ from run to run.

/// A random number.
pub(super) fn number() -> u32 {
    u32::from_ne_bytes(bytes())
}

/// Random bytes. Without a source of randomness the process can't go on safely, so zeros are never handed out.
pub(super) fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    match getrandom::fill(&mut out) {
        Ok(()) => out,
        Err(error) => panic!("the system has no randomness: {error}"),
    }
}

/// Random bytes in lower-case hexadecimal, `2 * N` characters.
pub(super) fn hex<const N: usize>() -> String {
    to_hex(&bytes::<N>())
}

/// Lower-case hexadecimal.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|d| char::from(DIGITS[usize::from(d)])).collect()
}
