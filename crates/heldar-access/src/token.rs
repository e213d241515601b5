//! Session tokens and API keys (auth-system.md 11.1).

use heldar_base::Secret;
use sha2::{Digest as _, Sha256};

/// What a token is, by its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Of a sign-in.
    Session,
    /// An API key.
    Key,
}

impl TokenKind {
    const fn prefix(self) -> &'static str {
        match self {
            TokenKind::Session => "vos_",
            TokenKind::Key => "vok_",
        }
    }
}

/// A token that was just made; shown once.
#[derive(Clone, Debug)]
pub struct Token {
    text: Secret<String>,
    hash: TokenHash,
}

impl Token {
    /// Makes one of 256 random bits.
    pub fn new(kind: TokenKind, random: [u8; 32]) -> Self {
        let text = format!("{}{}", kind.prefix(), hex(&random));
        Token { hash: TokenHash::of(&text), text: Secret::new(text) }
    }

    /// The token itself.
    pub fn text(&self) -> &Secret<String> {
        &self.text
    }

    /// What is kept of it.
    pub fn hash(&self) -> TokenHash {
        self.hash
    }

    /// Its first twelve characters, by which people tell their keys apart.
    pub fn prefix(&self) -> String {
        self.text.expose().chars().take(12).collect()
    }
}

/// SHA-256 of a whole token: what is kept and looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl std::fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenHash")
    }
}

impl TokenHash {
    /// Of a token as it was sent.
    pub fn of(token: &str) -> Self {
        TokenHash(Sha256::digest(token.as_bytes()).into())
    }

    /// From the form in the store; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |d: u8| char::from(d).to_digit(16).filter(|_| !d.is_ascii_uppercase());
            let (high, low) = (digit(*pair.first()?)?, digit(*pair.get(1)?)?);
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        Some(TokenHash(bytes))
    }

    /// The form in the store: 64 lowercase hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// Enough of it to tell the secrets of one key apart.
    pub fn generation(self) -> String {
        hex(&self.0[..8])
    }

    /// What a token claims to be: a key by its prefix, else a session.
    pub fn kind_of(token: &str) -> TokenKind {
        if token.starts_with(TokenKind::Key.prefix()) { TokenKind::Key } else { TokenKind::Session }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_the_form_and_are_found_by_their_hash() {
        let token = Token::new(TokenKind::Key, [0xab; 32]);
        let text = token.text().expose();
        assert_eq!(*text, format!("vok_{}", "ab".repeat(32)));
        assert_eq!(token.prefix(), "vok_abababab");
        assert_eq!(TokenHash::of(text), token.hash());
        assert_eq!(TokenHash::from_hex(&token.hash().to_hex()), Some(token.hash()));
        assert_eq!(format!("{token:?}"), "Token { text: ***, hash: TokenHash }");
        // FIPS 180-4, one block message.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(TokenHash::of("abc").to_hex(), abc);
        for text in ["", "ba", &abc.to_uppercase(), &abc.replace('f', "g"), &format!("{abc}0")] {
            assert_eq!(TokenHash::from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn a_key_is_told_by_its_prefix() {
        for (text, kind) in [
            ("vok_1", TokenKind::Key),
            ("vos_1", TokenKind::Session),
            ("VOK_", TokenKind::Session),
            ("", TokenKind::Session),
        ] {
            assert_eq!(TokenHash::kind_of(text), kind, "{text}");
        }
    }
}
