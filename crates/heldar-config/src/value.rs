//! From the text of a value to a typed one, by the kind of its variable.
//!
//! Pure. Problems never quote the text: it may be a secret, and is shown, masked, by whoever reports the problem.

use std::net::IpAddr;
use std::path::PathBuf;

use base64::Engine as _;
use heldar_base::Secret;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use url::Url;

use crate::database::DatabaseTarget;
use crate::kind::{FloatRule, IntRule, Kind, Sign, Zero};
use crate::origin::{CorsPolicy, Origin};
use crate::workers::{self, WorkerCommand};
use heldar_base::Cidr;

/// 1024³.
const GIB: f64 = 1_073_741_824.0;

/// A typed value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Not set, and without a default text.
    Unset,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Bytes; negative where the variable says that this means something.
    Bytes(i64),
    /// The first word of its group.
    Word(&'static str),
    /// Held as a secret: it is one for some variables, and costs nothing for the others.
    Text(Secret<String>),
    List(Vec<String>),
    Commands(Vec<WorkerCommand>),
    Url(Url),
    Database(DatabaseTarget),
    Cidrs(Vec<Cidr>),
    Addresses(Vec<IpAddr>),
    Cors(CorsPolicy),
    Path(PathBuf),
    Zone(ZoneSetting),
    Key(Secret<[u8; 32]>),
}

/// The time zone of schedules without a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneSetting {
    /// That of the host.
    System,
    /// This one.
    Fixed(TimeZone),
}

impl ZoneSetting {
    /// The zone itself; UTC where the host does not tell its own.
    pub fn zone(&self) -> TimeZone {
        match self {
            ZoneSetting::System => TimeZone::system(),
            ZoneSetting::Fixed(zone) => zone.clone(),
        }
    }
}

/// A value that was accepted.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) value: Value,
    /// The bound to which it was moved, as text.
    pub(crate) moved: Option<Moved>,
}

/// A value that was outside of a documented clamp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Moved {
    Raised(f64),
    Lowered(f64),
}

/// Why a text is not a value of its kind; completes "is …" and does not quote the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem(pub(crate) String);

impl Problem {
    fn new(text: &str) -> Self {
        Problem(text.to_owned())
    }
}

/// Parses a text that is not blank, or a default.
pub(crate) fn parse_text(kind: &Kind, text: &str) -> Result<Parsed, Problem> {
    if text.contains('\0') {
        return Err(Problem::new("holds a NUL character"));
    }
    let trimmed = text.trim();
    let still = |value| Ok(Parsed { value, moved: None });
    match kind {
        Kind::Bool => still(Value::Bool(boolean(trimmed)?)),
        Kind::Int(rule) => int(*rule, trimmed),
        Kind::Float(rule) => {
            let (number, moved) = float(*rule, trimmed)?;
            Ok(Parsed { value: Value::Float(number), moved })
        }
        Kind::Gib(rule) => {
            let (number, moved) = float(*rule, trimmed)?;
            Ok(Parsed { value: Value::Bytes(bytes_of_gib(number)?), moved })
        }
        Kind::Words(groups) => still(Value::Word(word(groups, trimmed)?)),
        // A password may begin or end with a space.
        Kind::Text => still(Value::Text(Secret::new(text.to_owned()))),
        Kind::Path => still(Value::Path(PathBuf::from(text))),
        Kind::List => still(Value::List(items(trimmed).map(str::to_owned).collect())),
        Kind::Commands => {
            workers::parse(trimmed).map_err(Problem::new).and_then(|c| still(Value::Commands(c)))
        }
        Kind::Url(schemes) => still(Value::Url(web_address(schemes, trimmed)?)),
        Kind::UrlList(schemes) => {
            items(trimmed).try_for_each(|item| web_address(schemes, item).map(drop))?;
            still(Value::List(items(trimmed).map(str::to_owned).collect()))
        }
        Kind::Database => DatabaseTarget::parse(trimmed)
            .map_err(|error| Problem(format!("is not usable: {error}")))
            .and_then(|target| still(Value::Database(target))),
        Kind::CidrList => {
            let ranges: Result<Vec<Cidr>, _> = items(trimmed).map(str::parse).collect();
            still(Value::Cidrs(ranges.map_err(|_| Problem::new("holds something that is no address range"))?))
        }
        Kind::AddressList => {
            let addresses: Result<Vec<IpAddr>, _> = items(trimmed).map(str::parse).collect();
            still(Value::Addresses(
                addresses.map_err(|_| Problem::new("holds something that is no IP address"))?,
            ))
        }
        Kind::JsonArray => {
            json_array(trimmed).and_then(|()| still(Value::Text(Secret::new(trimmed.to_owned()))))
        }
        Kind::Origins => still(Value::Cors(cors(trimmed)?)),
        Kind::TimeZone => still(Value::Zone(time_zone(trimmed)?)),
        Kind::LogFilter => {
            log_filter(trimmed).and_then(|()| still(Value::Text(Secret::new(trimmed.to_owned()))))
        }
        Kind::Key => still(Value::Key(key(trimmed)?)),
    }
}

/// The position of a fault is told and nothing of the text, which may hold credentials.
fn json_array(text: &str) -> Result<(), Problem> {
    match serde_json::from_str::<Vec<serde_json::Map<String, serde_json::Value>>>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(Problem(format!(
            "is not an array of objects: line {}, column {}",
            error.line(),
            error.column()
        ))),
    }
}

/// The items of a comma-separated list, trimmed, without blanks.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

pub(crate) fn boolean(text: &str) -> Result<bool, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(Problem::new("is not a boolean")),
    }
}

fn int(rule: IntRule, text: &str) -> Result<Parsed, Problem> {
    let number: i64 = text.parse().map_err(|_| Problem::new("is not a whole number"))?;
    if number < rule.accept.0 || number > rule.accept.1 {
        return Err(Problem::new("is out of range"));
    }
    let (mut value, mut moved) = (number, None);
    let exempt = rule.zero == Zero::Off && number == 0;
    if let Some(floor) = rule.floor.filter(|floor| number < *floor && !exempt) {
        (value, moved) = (floor, Some(Moved::Raised(floor as f64)));
    }
    if let Some(ceiling) = rule.ceiling.filter(|ceiling| number > *ceiling) {
        (value, moved) = (ceiling, Some(Moved::Lowered(ceiling as f64)));
    }
    Ok(Parsed { value: Value::Int(value), moved })
}

fn float(rule: FloatRule, text: &str) -> Result<(f64, Option<Moved>), Problem> {
    let decimal = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+'));
    let number: f64 = match text.parse() {
        Ok(number) if decimal && f64::is_finite(number) => number,
        _ => return Err(Problem::new("is not a decimal number")),
    };
    match rule.accept {
        Sign::NotNegative if number < 0.0 => return Err(Problem::new("is negative")),
        Sign::Positive if number <= 0.0 => return Err(Problem::new("is not above 0")),
        _ => {}
    }
    match (rule.floor, rule.ceiling) {
        (Some(floor), _) if number < floor => Ok((floor, Some(Moved::Raised(floor)))),
        (_, Some(ceiling)) if number > ceiling => Ok((ceiling, Some(Moved::Lowered(ceiling)))),
        _ => Ok((number, None)),
    }
}

/// Rounded up, so that a small cap above zero does not become zero, which would mean something else.
fn bytes_of_gib(gib: f64) -> Result<i64, Problem> {
    let bytes = (gib * GIB).ceil();
    // 2^63 as f64 is exact; everything below fits.
    if bytes.abs() < 9_223_372_036_854_775_808.0 {
        Ok(bytes as i64)
    } else {
        Err(Problem::new("is out of range"))
    }
}

fn word(groups: &'static [&'static [&'static str]], text: &str) -> Result<&'static str, Problem> {
    groups
        .iter()
        .find(|group| group.iter().any(|word| word.eq_ignore_ascii_case(text)))
        .and_then(|group| group.first().copied())
        .ok_or_else(|| Problem::new("is not one of the words"))
}

fn web_address(schemes: &[&str], text: &str) -> Result<Url, Problem> {
    let url = Url::parse(text).map_err(|_| Problem::new("is not a URL"))?;
    if !schemes.contains(&url.scheme()) {
        return Err(Problem::new("has another scheme"));
    }
    if !url.has_host() {
        return Err(Problem::new("has no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Problem::new("holds a user or password"));
    }
    Ok(url)
}

fn cors(text: &str) -> Result<CorsPolicy, Problem> {
    let mut list = Vec::new();
    let mut any = false;
    for item in items(text) {
        if item == "*" {
            any = true;
        } else {
            list.push(Origin::parse(item).map_err(|_| Problem::new("holds something that is no origin"))?);
        }
    }
    Ok(match (any, list.is_empty()) {
        (true, _) => CorsPolicy::Any,
        (false, true) => CorsPolicy::SameOrigin,
        (false, false) => CorsPolicy::List(list),
    })
}

/// POSIX.1-2024 8.3: `:` before a name, a name of the IANA database, or a rule such as `CET-1CEST,M3.5.0,M10.5.0/3`.
fn time_zone(text: &str) -> Result<ZoneSetting, Problem> {
    let name = text.strip_prefix(':').unwrap_or(text);
    if name == "/etc/localtime" {
        return Ok(ZoneSetting::System);
    }
    TimeZoneDatabase::bundled()
        .get(name)
        .or_else(|_| TimeZone::posix(name))
        .map(ZoneSetting::Fixed)
        .map_err(|_| Problem::new("is not a time zone"))
}

/// The outer form of filter directives: what stands behind the last `=` outside of brackets is a level.
fn log_filter(text: &str) -> Result<(), Problem> {
    const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace", "0", "1", "2", "3", "4", "5"];
    let (mut depth, mut start, mut directives) = (0u32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '[' | '{' => depth = depth.saturating_add(1),
            ']' | '}' if depth == 0 => return Err(Problem::new("closes a bracket that is not open")),
            ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                directives.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    directives.push(&text[start..]);
    if depth != 0 {
        return Err(Problem::new("leaves a bracket open"));
    }
    for directive in directives.into_iter().map(str::trim).filter(|d| !d.is_empty()) {
        let tail = directive.rsplit(']').next().unwrap_or(directive);
        let (target, level) = match tail.rsplit_once('=') {
            Some((target, level)) => (target, Some(level)),
            None => (tail, None),
        };
        if level.is_some_and(|level| !LEVELS.contains(&level.to_ascii_lowercase().as_str())) {
            return Err(Problem::new("names a level that does not exist"));
        }
        if !target
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'-' | b'.' | b'[' | b'*'))
        {
            return Err(Problem::new("is not a log filter"));
        }
    }
    Ok(())
}

fn key(text: &str) -> Result<Secret<[u8; 32]>, Problem> {
    let wrong = || Problem::new("is not base64 of exactly 32 bytes");
    let bytes = Secret::new(base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| wrong())?);
    <[u8; 32]>::try_from(bytes.expose().as_slice()).map(Secret::new).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What became of a text: its value as debug text and the move, or the problem.
    fn check(kind: Kind, text: &str, expect: Result<&str, &str>) {
        let got = parse_text(&kind, text).map(|p| match p.moved {
            None => format!("{:?}", p.value),
            Some(moved) => format!("{:?} {moved:?}", p.value),
        });
        let got = got.as_deref().map_err(|p| p.0.as_str());
        assert_eq!(got, expect, "{text:?}");
    }

    #[test]
    fn booleans() {
        for text in ["1", "true", "YES", "On", " true "] {
            check(Kind::Bool, text, Ok("Bool(true)"));
        }
        for text in ["0", "False", "no", "OFF"] {
            check(Kind::Bool, text, Ok("Bool(false)"));
        }
        for text in ["2", "y", "enabled", "", "truee"] {
            check(Kind::Bool, text, Err("is not a boolean"));
        }
    }

    #[test]
    fn whole_numbers() {
        let clamp = Kind::Int(IntRule::clamp(200, 4000));
        check(clamp, "1000", Ok("Int(1000)"));
        check(clamp, " 200 ", Ok("Int(200)"));
        check(clamp, "199", Ok("Int(200) Raised(200.0)"));
        check(clamp, "-5", Ok("Int(200) Raised(200.0)"));
        check(clamp, "4001", Ok("Int(4000) Lowered(4000.0)"));
        for text in ["", "1.5", "1e3", "1_000", "0x10", "abc", "99999999999999999999", "inf", "1 000"] {
            check(clamp, text, Err("is not a whole number"));
        }
        check(Kind::Int(IntRule::PORT), "0", Ok("Int(0)"));
        check(Kind::Int(IntRule::PORT), "65536", Err("is out of range"));
        check(Kind::Int(IntRule::PORT), "-1", Err("is out of range"));
        let off = Kind::Int(IntRule::zero_or_floor(2));
        check(off, "0", Ok("Int(0)"));
        check(off, "1", Ok("Int(2) Raised(2.0)"));
        check(off, "-1", Ok("Int(2) Raised(2.0)"));
    }

    #[test]
    fn decimal_numbers() {
        let floor = Kind::Float(FloatRule::floor(1.0));
        check(floor, "0.5", Ok("Float(1.0) Raised(1.0)"));
        check(floor, "1.5", Ok("Float(1.5)"));
        check(Kind::Float(FloatRule::ceiling(100.0)), "150", Ok("Float(100.0) Lowered(100.0)"));
        for text in ["nan", "inf", "-infinity", "1e3", "1,5", "", "x", "1..2"] {
            check(floor, text, Err("is not a decimal number"));
        }
        check(Kind::Gib(FloatRule::POSITIVE), "0.5", Ok("Bytes(536870912)"));
        check(Kind::Gib(FloatRule::POSITIVE), "0.0000000001", Ok("Bytes(1)"));
        check(Kind::Gib(FloatRule::POSITIVE), "0", Err("is not above 0"));
        check(Kind::Gib(FloatRule::NOT_NEGATIVE), "-0.1", Err("is negative"));
        check(Kind::Gib(FloatRule::ANY), "-1", Ok("Bytes(-1073741824)"));
        check(Kind::Gib(FloatRule::ANY), "9999999999999", Err("is out of range"));
    }

    #[test]
    fn words_and_lists() {
        let tiers = Kind::Words(&[&["off", "false"], &["enforce", "true"]]);
        check(tiers, "TRUE", Ok("Word(\"enforce\")"));
        check(tiers, "Off", Ok("Word(\"off\")"));
        check(tiers, "warn", Err("is not one of the words"));
        check(Kind::List, " a, ,b ,", Ok("List([\"a\", \"b\"])"));
        check(Kind::CidrList, "10.0.0.0/8, ::1", Ok("Cidrs([10.0.0.0/8, ::1/128])"));
        check(Kind::CidrList, "10.0.0.0/8, x", Err("holds something that is no address range"));
        check(Kind::Origins, "", Ok("Cors(SameOrigin)"));
        check(Kind::Origins, "http://a, *", Ok("Cors(Any)"));
        check(Kind::AddressList, "10.0.0.1, ::1", Ok("Addresses([10.0.0.1, ::1])"));
        check(Kind::AddressList, "10.0.0.0/8", Err("holds something that is no IP address"));
        check(Kind::JsonArray, "[1]", Err("is not an array of objects: line 1, column 2"));
        check(Kind::Origins, "http://a", Ok("Cors(List([Origin(\"http://a\")]))"));
        check(Kind::Origins, "a.example", Err("holds something that is no origin"));
    }

    #[test]
    fn addresses() {
        let web = Kind::Url(&["http", "https"]);
        assert!(parse_text(&web, "https://nvr.example/x").is_ok());
        check(web, "nvr.example", Err("is not a URL"));
        check(web, "rtsp://h", Err("has another scheme"));
        check(web, "https://u@h", Err("holds a user or password"));
        check(web, "https://:p@h", Err("holds a user or password"));
        check(web, "https:///", Err("is not a URL"));
        check(Kind::UrlList(&["http"]), "http://a,ftp://b", Err("has another scheme"));
    }

    #[test]
    fn time_zones() {
        for text in ["Europe/Berlin", ":Europe/Berlin", "UTC", "CET-1CEST,M3.5.0,M10.5.0/3"] {
            assert!(matches!(
                parse_text(&Kind::TimeZone, text).unwrap().value,
                Value::Zone(ZoneSetting::Fixed(_))
            ));
        }
        check(Kind::TimeZone, ":/etc/localtime", Ok("Zone(System)"));
        check(Kind::TimeZone, "Europe/Berlni", Err("is not a time zone"));
        check(Kind::TimeZone, "/etc/passwd", Err("is not a time zone"));
    }

    #[test]
    fn log_filters() {
        for text in [
            "info",
            "info,heldar_core=debug",
            "",
            "off",
            "a::b=TRACE,",
            "[span{field=\"a,b\"}]=debug",
            "a[s]=info",
        ] {
            assert!(parse_text(&Kind::LogFilter, text).is_ok(), "{text}");
        }
        check(Kind::LogFilter, "info,heldar=loud", Err("names a level that does not exist"));
        check(Kind::LogFilter, "info heldar", Err("is not a log filter"));
        check(Kind::LogFilter, "[a=info", Err("leaves a bracket open"));
        check(Kind::LogFilter, "a]=info", Err("closes a bracket that is not open"));
    }

    #[test]
    fn keys() {
        check(Kind::Key, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", Ok("Key(***)"));
        for text in ["AAECAw==", "not base64!", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gIQ=="] {
            check(Kind::Key, text, Err("is not base64 of exactly 32 bytes"));
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_problems_do_not_quote(text in "\\PC{0,40}|[-+.0-9a-z:/,@\\[\\]{}=]{12,40}") {
            for variable in crate::table::all() {
                if let Err(problem) = parse_text(&variable.kind, &text) {
                    prop_assert!(text.trim().chars().count() < 8 || !problem.0.contains(text.trim()));
                }
            }
        }
    }
}
