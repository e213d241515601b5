//! Names and passwords that people choose (auth-system.md 11.5).

/// Longest password in bytes; more would only cost time to hash.
const MAX_BYTES: usize = 1024;

/// Passwords that guessers try first, apart from digits and single characters in a row.
const WIDESPREAD: &[&str] = &[
    "password",
    "passw0rd",
    "p@ssword",
    "p@ssw0rd",
    "pa$$word",
    "password1",
    "password12",
    "password123",
    "password1234",
    "password!",
    "qwertyui",
    "qwertyuiop",
    "qwerty123",
    "qwerty1234",
    "qwertz123",
    "azertyuiop",
    "asdfghjk",
    "asdfghjkl",
    "zxcvbnm1",
    "1q2w3e4r",
    "1q2w3e4r5t",
    "1qaz2wsx",
    "q1w2e3r4",
    "zaq12wsx",
    "iloveyou",
    "iloveyou1",
    "sunshine",
    "princess",
    "football",
    "baseball",
    "basketball",
    "superman",
    "batman123",
    "starwars",
    "trustno1",
    "letmein1",
    "letmein123",
    "welcome1",
    "welcome123",
    "welcome!",
    "changeme",
    "changeme1",
    "changeme123",
    "default1",
    "admin123",
    "admin1234",
    "admin12345",
    "administrator",
    "adminadmin",
    "root1234",
    "rootroot",
    "guest123",
    "test1234",
    "testtest",
    "testing123",
    "secret123",
    "master12",
    "masterkey",
    "computer",
    "internet",
    "whatever",
    "michelle",
    "jennifer",
    "jordan23",
    "liverpool",
    "chocolate",
    "butterfly",
    "elephant",
    "diamond1",
    "abc12345",
    "abcd1234",
    "abcdefgh",
    "a1b2c3d4",
    "aa123456",
    "summer2024",
    "winter2024",
    "summer2025",
    "winter2025",
    "summer2026",
    "winter2026",
    "security",
    "security1",
    "camera12",
    "camera123",
    "surveillance",
    "hikvision",
    "hik12345",
    "dahua123",
    "axis1234",
    "heldar123",
];

/// The form under which usernames are unique: without case and surrounding blanks.
pub fn fold_username(name: &str) -> String {
    name.trim().to_lowercase()
}

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    /// Too few characters.
    #[error("a password has at least {0} characters")]
    Short(usize),
    /// Too many bytes.
    #[error("a password has at most {MAX_BYTES} bytes")]
    Long,
    /// Tried first by everyone who guesses.
    #[error("this password is widespread, or the username: choose one that nobody guesses")]
    Widespread,
}

/// What a password must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordRules {
    /// Fewest characters.
    pub min_length: usize,
    /// Refuse widespread ones and the username.
    pub block_common: bool,
}

impl PasswordRules {
    /// Checks a password that is about to be set.
    ///
    /// # Errors
    /// [`PasswordFault`].
    pub fn check(&self, password: &str, username: &str) -> Result<(), PasswordFault> {
        if password.len() > MAX_BYTES {
            return Err(PasswordFault::Long);
        }
        if password.chars().count() < self.min_length {
            return Err(PasswordFault::Short(self.min_length));
        }
        if self.block_common && is_widespread(password, username) {
            return Err(PasswordFault::Widespread);
        }
        Ok(())
    }
}

fn is_widespread(password: &str, username: &str) -> bool {
    let folded = password.to_lowercase();
    let codes: Vec<u32> = folded.chars().map(u32::from).collect();
    // All the same, or each one above or below the one before, as in 12345678; a decade ends in 0.
    let step = |pair: &[u32]| matches!(pair, [a, b] if a.abs_diff(*b) <= 1 || a.abs_diff(*b) == 9 && (*a.min(b), *a.max(b)) == (48, 57));
    let is_row = codes.windows(2).all(step);
    is_row || WIDESPREAD.contains(&folded.as_str()) || folded.trim() == fold_username(username)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords() {
        let (plain, strict) = (
            PasswordRules { min_length: 8, block_common: false },
            PasswordRules { min_length: 10, block_common: true },
        );
        assert_eq!(plain.check("1234567", "x"), Err(PasswordFault::Short(8)));
        assert_eq!(plain.check("äöüäöüäö", "x"), Ok(()), "characters, not bytes");
        assert_eq!(plain.check(&"x".repeat(1024), "x"), Ok(()));
        assert_eq!(plain.check(&"x".repeat(1025), "x"), Err(PasswordFault::Long));
        assert_eq!(plain.check("password", "x"), Ok(()));
        for (password, fault) in [
            ("Password12", Some(PasswordFault::Widespread)),
            ("1234567890", Some(PasswordFault::Widespread)),
            ("0987654321", Some(PasswordFault::Widespread)),
            ("aaaaaaaaaa", Some(PasswordFault::Widespread)),
            ("Night.Watch", Some(PasswordFault::Widespread)),
            ("short", Some(PasswordFault::Short(10))),
            ("a long walk home", None),
        ] {
            assert_eq!(strict.check(password, " night.watch "), fault.map_or(Ok(()), Err), "{password}");
        }
    }

    #[test]
    fn names_are_the_same_in_any_case() {
        assert_eq!(fold_username("  Ädele.Müller "), fold_username("ÄDELE.MÜLLER"));
    }
}
