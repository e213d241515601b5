//! Statements composed of fixed fragments.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use heldar_base::{CameraId, Scope};

use super::{Arg, Command};

/// A statement that grows fragment by fragment. A `$` in a fragment is the place of its next value.
///
/// An absent filter adds no text, so that each shape of a statement has a plan of its own.
pub(crate) struct Query {
    text: String,
    args: Vec<Arg>,
}

impl Query {
    /// Begins with `head`, whose places take `args`.
    pub(crate) fn new(head: &'static str, args: Vec<Arg>) -> Self {
        let mut query = Query { text: String::with_capacity(head.len() + 160), args: Vec::new() };
        query.push(head, args);
        query
    }

    /// Appends a fragment, whose places take `args`.
    pub(crate) fn push(&mut self, fragment: &'static str, args: Vec<Arg>) {
        debug_assert_eq!(fragment.matches('$').count(), args.len(), "{fragment}");
        let mut number = self.args.len();
        self.text.push(' ');
        for (at, part) in fragment.split('$').enumerate() {
            if at > 0 {
                number += 1;
                // Writing to a string cannot fail.
                let _infallible = write!(self.text, "${number}");
            }
            self.text.push_str(part);
        }
        self.args.extend(args);
    }

    /// Appends a fragment with one value if there is one.
    pub(crate) fn push_if<T>(&mut self, fragment: &'static str, value: Option<T>)
    where
        Arg: From<T>,
    {
        if let Some(value) = value {
            self.push(fragment, vec![Arg::from(value)]);
        }
    }

    /// Limits a camera column to the cameras of a filter: `AND column …`.
    ///
    /// Long lists are padded to a power of two, so that they make few different statements.
    pub(crate) fn cameras(&mut self, column: &'static str, filter: &CameraFilter<'_>) {
        let cameras: Vec<&str> = match filter {
            CameraFilter::Every => return,
            CameraFilter::One(camera) => vec![camera.as_str()],
            CameraFilter::Set(set) => set.iter().map(|camera| camera.as_str()).collect(),
        };
        self.text.push_str(" AND ");
        self.text.push_str(column);
        self.list(cameras.into_iter().map(Arg::from).collect());
    }

    /// Limits a column of numbers to some, at least one: `AND column …`; padded as [`Query::cameras`].
    pub(crate) fn numbers(&mut self, column: &'static str, numbers: &[i64]) {
        self.text.push_str(" AND ");
        self.text.push_str(column);
        self.list(numbers.iter().map(|number| Arg::from(*number)).collect());
    }

    /// Appends `IN ($n, …)`, or `= $n` for one value.
    fn list(&mut self, values: Vec<Arg>) {
        let first = self.args.len() + 1;
        let count = values.len();
        self.args.extend(values);
        if count == 1 {
            let _infallible = write!(self.text, " = ${first}");
            return;
        }
        let last = self.args.len();
        let places = if count > 4096 { count } else { count.next_power_of_two() };
        for place in 0..places {
            let open = if place == 0 { " IN (" } else { ", " };
            let _infallible = write!(self.text, "{open}${}", (first + place).min(last));
        }
        self.text.push(')');
    }

    /// Appends ` column NOT IN (…)` over the cameras of a scope; for rows that name several cameras.
    pub(crate) fn outside(&mut self, column: &'static str, set: &BTreeSet<CameraId>) {
        self.text.push_str(" NOT (");
        self.text.push_str(column);
        self.list(set.iter().map(Arg::from).collect());
        self.text.push(')');
    }

    /// The statement with its values.
    pub(crate) fn command(self) -> Command {
        Command { text: Cow::Owned(self.text), args: self.args }
    }
}

/// The cameras that an answer may speak of: the scope of the caller, met with the camera that was asked for.
pub(crate) enum CameraFilter<'a> {
    /// All, and what belongs to none.
    Every,
    /// This one.
    One(&'a CameraId),
    /// These, at least one.
    Set(&'a BTreeSet<CameraId>),
}

impl<'a> CameraFilter<'a> {
    /// `None` when nothing can be seen: an empty scope, or a camera outside of it.
    pub(crate) fn new(scope: &'a Scope, asked: Option<&'a CameraId>) -> Option<Self> {
        match (scope, asked) {
            (Scope::All, None) => Some(CameraFilter::Every),
            (scope, Some(camera)) => scope.covers(camera).then_some(CameraFilter::One(camera)),
            (Scope::Cameras(set), None) => (!set.is_empty()).then_some(CameraFilter::Set(set)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::args;

    fn camera(name: &str) -> CameraId {
        CameraId::new(name).unwrap()
    }

    #[test]
    fn places_are_numbered_across_fragments() {
        let mut query = Query::new("SELECT a FROM t WHERE a = $", args![1i64]);
        query.push_if("AND b > $", Some(2i64));
        query.push_if("AND c > $", None::<i64>);
        let set: BTreeSet<_> = ["x", "y", "z"].map(camera).into();
        query.cameras("t.camera_id", &CameraFilter::Set(&set));
        query.push("ORDER BY a LIMIT $", args![9i64]);
        let command = query.command();
        assert_eq!(
            command.text.trim(),
            "SELECT a FROM t WHERE a = $1 AND b > $2 AND t.camera_id IN ($3, $4, $5, $5) ORDER BY a LIMIT $6"
        );
        assert_eq!(command.args.len(), 6);
    }

    #[test]
    fn scope_meets_the_asked_camera() {
        let (a, b) = (camera("a"), camera("b"));
        let only_a = Scope::Cameras([a.clone()].into());
        let nobody = Scope::Cameras(BTreeSet::new());
        assert!(matches!(CameraFilter::new(&Scope::All, None), Some(CameraFilter::Every)));
        assert!(matches!(CameraFilter::new(&Scope::All, Some(&b)), Some(CameraFilter::One(_))));
        assert!(matches!(CameraFilter::new(&only_a, None), Some(CameraFilter::Set(_))));
        assert!(matches!(CameraFilter::new(&only_a, Some(&a)), Some(CameraFilter::One(_))));
        assert!(CameraFilter::new(&only_a, Some(&b)).is_none());
        assert!(CameraFilter::new(&nobody, None).is_none());
        assert!(CameraFilter::new(&nobody, Some(&a)).is_none());
    }
}
