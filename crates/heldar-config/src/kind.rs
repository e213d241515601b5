//! Kinds of values: what is accepted, and where values are moved to.

/// The accepted values.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `1 true yes on`, `0 false no off`.
    Bool,
    /// A whole number.
    Int(IntRule),
    /// A number that may have a fraction.
    Float(FloatRule),
    /// A number of GiB (1024³ bytes) that may have a fraction.
    Gib(FloatRule),
    /// One of some words, each with its aliases behind it.
    Words(&'static [&'static [&'static str]]),
    /// Any text.
    Text,
    /// Comma-separated texts.
    List,
    /// Commands with names, `;` between them.
    Commands,
    /// An absolute URL of one of these schemes.
    Url(&'static [&'static str]),
    /// Comma-separated URLs of one of these schemes.
    UrlList(&'static [&'static str]),
    /// Where the store is.
    Database,
    /// Comma-separated address ranges.
    CidrList,
    /// Comma-separated IP addresses.
    AddressList,
    /// A JSON array of objects.
    JsonArray,
    /// Comma-separated origins, or `*`.
    Origins,
    /// A file or folder, relative to the working directory.
    Path,
    /// A time zone.
    TimeZone,
    /// Directives of the log.
    LogFilter,
    /// 32 bytes in base64.
    Key,
}

/// Bounds of a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntRule {
    /// Outside of these the start fails.
    pub accept: (i64, i64),
    /// Smaller values are raised to it.
    pub floor: Option<i64>,
    /// Greater values are lowered to it.
    pub ceiling: Option<i64>,
    /// What a zero means.
    pub zero: Zero,
}

/// What a zero means to a floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    /// A number like any other.
    Ordinary,
    /// The thing is off; the floor does not touch it.
    Off,
}

impl IntRule {
    /// Any whole number.
    pub const ANY: IntRule =
        IntRule { accept: (i64::MIN, i64::MAX), floor: None, ceiling: None, zero: Zero::Ordinary };
    /// Zero or more.
    pub const NATURAL: IntRule = IntRule { accept: (0, i64::MAX), ..IntRule::ANY };
    /// A port; 0 is for the variable to explain.
    pub const PORT: IntRule = IntRule { accept: (0, 65_535), ..IntRule::ANY };

    /// Smaller values are raised.
    pub const fn floor(floor: i64) -> Self {
        IntRule { floor: Some(floor), ..IntRule::ANY }
    }

    /// Zero stays, other smaller values are raised.
    pub const fn zero_or_floor(floor: i64) -> Self {
        IntRule { floor: Some(floor), zero: Zero::Off, ..IntRule::ANY }
    }

    /// Values outside are moved to the nearer bound.
    pub const fn clamp(floor: i64, ceiling: i64) -> Self {
        IntRule { floor: Some(floor), ceiling: Some(ceiling), ..IntRule::ANY }
    }
}

/// Bounds of a number that may have a fraction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloatRule {
    /// Outside of this the start fails.
    pub accept: Sign,
    /// Smaller values are raised to it.
    pub floor: Option<f64>,
    /// Greater values are lowered to it.
    pub ceiling: Option<f64>,
}

/// Which side of zero is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Either.
    Any,
    /// Zero and above.
    NotNegative,
    /// Above zero.
    Positive,
}

impl FloatRule {
    /// Any finite number.
    pub const ANY: FloatRule = FloatRule { accept: Sign::Any, floor: None, ceiling: None };
    /// Zero and above.
    pub const NOT_NEGATIVE: FloatRule = FloatRule { accept: Sign::NotNegative, ..FloatRule::ANY };
    /// Above zero.
    pub const POSITIVE: FloatRule = FloatRule { accept: Sign::Positive, ..FloatRule::ANY };

    /// Smaller values are raised.
    pub const fn floor(floor: f64) -> Self {
        FloatRule { floor: Some(floor), ..FloatRule::ANY }
    }

    /// Greater values are lowered.
    pub const fn ceiling(ceiling: f64) -> Self {
        FloatRule { ceiling: Some(ceiling), ..FloatRule::ANY }
    }

    /// Values outside are moved to the nearer bound.
    pub const fn clamp(floor: f64, ceiling: f64) -> Self {
        FloatRule { floor: Some(floor), ceiling: Some(ceiling), ..FloatRule::ANY }
    }
}

impl Kind {
    /// What is accepted, for error messages and the reference.
    pub fn accepted(&self) -> String {
        match self {
            Kind::Bool => "1, true, yes, on, 0, false, no or off".to_owned(),
            Kind::Int(rule) => match rule.accept {
                (i64::MIN, i64::MAX) => "a whole number".to_owned(),
                (i64::MIN, high) => format!("a whole number, at most {high}"),
                (low, i64::MAX) => format!("a whole number, at least {low}"),
                (low, high) => format!("a whole number from {low} to {high}"),
            },
            Kind::Float(rule) => format!("a decimal number{}", rule.accept.words()),
            Kind::Gib(rule) => format!("a decimal number of GiB{}", rule.accept.words()),
            Kind::Words(words) => {
                let all: Vec<&str> = words.iter().flat_map(|group| group.iter().copied()).collect();
                format!("one of {}", all.join(", "))
            }
            Kind::Text => "text".to_owned(),
            Kind::List => "a comma-separated list".to_owned(),
            Kind::Commands => {
                "<name>=<program and arguments>, several with ; between; quotes keep spaces together"
                    .to_owned()
            }
            Kind::Url(schemes) => format!("a URL ({})", schemes.join(", ")),
            Kind::UrlList(schemes) => format!("comma-separated URLs ({})", schemes.join(", ")),
            Kind::Database => "sqlite://<file> or postgres://<user>@<host>/<database>".to_owned(),
            Kind::CidrList => "comma-separated addresses or ranges such as 10.0.0.0/8, fd00::/8".to_owned(),
            Kind::AddressList => "comma-separated IP addresses".to_owned(),
            Kind::JsonArray => "a JSON array of objects".to_owned(),
            Kind::Origins => "comma-separated origins such as https://nvr.example:8443, or *".to_owned(),
            Kind::Path => "a path".to_owned(),
            Kind::TimeZone => "an IANA time zone such as Europe/Berlin, or a POSIX TZ string".to_owned(),
            Kind::LogFilter => {
                "comma-separated <level> or <target>=<level>; level is trace, debug, info, warn, error or off"
                    .to_owned()
            }
            Kind::Key => "base64 of exactly 32 bytes".to_owned(),
        }
    }

    /// Where values are moved to, for the reference; empty when they are not.
    pub fn clamp(&self) -> String {
        match self {
            Kind::Int(IntRule { zero: Zero::Off, floor: Some(floor), .. }) => {
                format!("0, else at least {floor}")
            }
            Kind::Int(rule) => bounds(rule.floor, rule.ceiling),
            Kind::Float(rule) | Kind::Gib(rule) => bounds(rule.floor, rule.ceiling),
            _ => String::new(),
        }
    }
}

fn bounds<T: std::fmt::Display>(floor: Option<T>, ceiling: Option<T>) -> String {
    match (floor, ceiling) {
        (Some(floor), Some(ceiling)) => format!("{floor}..{ceiling}"),
        (Some(floor), None) => format!("at least {floor}"),
        (None, Some(ceiling)) => format!("at most {ceiling}"),
        (None, None) => String::new(),
    }
}

impl Sign {
    fn words(self) -> &'static str {
        match self {
            Sign::Any => "",
            Sign::NotNegative => ", not negative",
            Sign::Positive => ", above 0",
        }
    }
}
