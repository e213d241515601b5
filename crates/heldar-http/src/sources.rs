//! How much one source may have at a time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts what each source holds and refuses beyond a bound. Memory is bounded by what is held.
#[derive(Debug)]
pub(crate) struct Sources {
    per_source: usize,
    total: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// Which bound a source counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Its own and that of all together.
    Source(IpAddr),
    /// That of all together only: a trusted proxy stands for many clients.
    TotalOnly,
}

impl Sources {
    pub(crate) fn new(per_source: usize, total: usize) -> Arc<Self> {
        Arc::new(Sources { per_source, total, held: Mutex::default() })
    }

    /// Takes a place until the result is dropped; `None` when there is none.
    pub(crate) fn take(self: &Arc<Self>, bound: Bound) -> Option<Place> {
        let source = match bound {
            Bound::Source(address) => Some(source_of(address)),
            Bound::TotalOnly => None,
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.total >= self.total {
            return None;
        }
        if let Some(source) = source {
            let count = held.by_source.entry(source).or_insert(0);
            if *count >= self.per_source {
                return None;
            }
            *count += 1;
        }
        held.total += 1;
        Some(Place { sources: Arc::clone(self), source })
    }
}

/// IPv4 counts singly, IPv6 by /64, which one host commands as a whole (auth-system.md 12).
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

/// A place that a source holds.
#[derive(Debug)]
pub(crate) struct Place {
    sources: Arc<Sources>,
    source: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.sources.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.total = held.total.saturating_sub(1);
        if let Some(source) = self.source
            && let Some(count) = held.by_source.get_mut(&source)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.by_source.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_and_places_come_back() {
        let sources = Sources::new(2, 3);
        let source = |text: &str| Bound::Source(text.parse().unwrap());
        let first = sources.take(source("10.0.0.1")).unwrap();
        let _second = sources.take(source("::ffff:10.0.0.1")).unwrap();
        assert!(sources.take(source("10.0.0.1")).is_none());
        let third = sources.take(source("2001:db8::1")).unwrap();
        assert!(sources.take(source("10.0.0.2")).is_none(), "all places are taken");
        assert!(sources.take(Bound::TotalOnly).is_none());
        drop(first);
        let _again = sources.take(source("2001:db8::ffff")).unwrap();
        drop(third);
        assert!(sources.take(Bound::TotalOnly).is_some());
        assert!(sources.take(source("2001:db8:0:1::1")).is_some());
        assert_eq!(sources.held.lock().unwrap().by_source.len(), 2);
    }
}
