//! Writes bits the naive way, for tests of what reads them.

/// Bits in order.
#[derive(Clone, Default)]
pub(crate) struct Bits(Vec<bool>);

impl Bits {
    /// Starts with whole bytes.
    pub(crate) fn after(bytes: &[u8]) -> Bits {
        let mut bits = Bits::default();
        for byte in bytes {
            bits.fixed(8, u32::from(*byte));
        }
        bits
    }

    /// `u(n)`
    pub(crate) fn fixed(&mut self, count: u32, value: u32) -> &mut Self {
        self.0.extend((0..count).rev().map(|i| (value >> i) & 1 == 1));
        self
    }

    /// `ue(v)`
    pub(crate) fn ue(&mut self, value: u32) -> &mut Self {
        let code = u64::from(value) + 1;
        let len = 64 - code.leading_zeros();
        self.0.extend(std::iter::repeat_n(false, len as usize - 1));
        self.0.extend((0..len).rev().map(|i| (code >> i) & 1 == 1));
        self
    }

    /// `se(v)`
    pub(crate) fn se(&mut self, value: i32) -> &mut Self {
        self.ue(if value > 0 { 2 * value.unsigned_abs() - 1 } else { 2 * value.unsigned_abs() })
    }

    /// Whole bytes, padded with zeros.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let byte =
            |bits: &[bool]| bits.iter().enumerate().fold(0, |b, (i, bit)| b | (u8::from(*bit) << (7 - i)));
        self.0.chunks(8).map(byte).collect()
    }

    /// A NAL unit: trailing bits and emulation prevention added.
    pub(crate) fn nal(&self) -> Vec<u8> {
        let mut rbsp = self.clone();
        rbsp.fixed(1, 1);
        escape(&rbsp.bytes())
    }
}

/// What an encoder does against start codes (H.264 7.4.1.1).
pub(crate) fn escape(rbsp: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    let mut zeros = 0;
    for byte in rbsp {
        if zeros == 2 && *byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    out
}
