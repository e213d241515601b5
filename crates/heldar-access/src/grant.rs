//! What a key or a person may do, as it is written (auth-system.md 9, 10.1, 13.4).

use std::collections::BTreeSet;

use heldar_base::{Capability, Role};

use crate::ScopeSpec;

/// Rights that change the system: whoever grants them to a machine confirms it.
pub const PRIVILEGED: [Capability; 3] =
    [Capability::Admin, Capability::RegistryManage, Capability::GateOperate];

/// Why a grant is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// A slug that names no capability.
    #[error("no such capability; there are: {}", all_slugs())]
    Unknown(usize),
    /// An empty list.
    #[error("a list of capabilities names at least one")]
    Empty,
    /// A limited scope on a key whose rights follow from its role.
    #[error("a limited scope needs explicit capabilities")]
    LimitedByRole,
    /// `admin` on some cameras.
    #[error("`admin` cannot be limited to cameras")]
    LimitedAdmin,
    /// Privileged, and not confirmed.
    #[error("this grants {}; confirm_privileged must be true", slugs(.0))]
    Unconfirmed(Vec<Capability>),
}

fn slugs(list: &[Capability]) -> String {
    list.iter().map(|capability| capability.as_str()).collect::<Vec<_>>().join(", ")
}

fn all_slugs() -> String {
    slugs(Capability::ALL)
}

/// The capabilities of a key as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyGrant {
    /// Those of its role.
    ByRole,
    /// These.
    Explicit {
        /// Known ones.
        capabilities: BTreeSet<Capability>,
        /// Slugs that this version does not know; they grant nothing.
        unknown: Vec<String>,
    },
    /// What the store holds cannot be read; it grants nothing.
    Unreadable,
}

impl KeyGrant {
    /// From a request.
    ///
    /// # Errors
    /// [`GrantError::Unknown`], [`GrantError::Empty`].
    pub fn written(slugs: &[String]) -> Result<Self, GrantError> {
        let read = |(index, slug): (usize, &String)| slug.parse().map_err(|()| GrantError::Unknown(index));
        let capabilities: BTreeSet<Capability> =
            slugs.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        if capabilities.is_empty() {
            return Err(GrantError::Empty);
        }
        Ok(KeyGrant::Explicit { capabilities, unknown: Vec::new() })
    }

    /// From the store: a JSON array, or nothing for the role's.
    pub fn stored(text: Option<&str>) -> Self {
        let Some(text) = text else { return KeyGrant::ByRole };
        let Ok(slugs) = serde_json::from_str::<Vec<String>>(text) else { return KeyGrant::Unreadable };
        let (mut capabilities, mut unknown) = (BTreeSet::new(), Vec::new());
        for slug in slugs {
            match slug.parse() {
                Ok(capability) => _ = capabilities.insert(capability),
                Err(()) => unknown.push(slug),
            }
        }
        KeyGrant::Explicit { capabilities, unknown }
    }

    /// The form in the store.
    pub fn to_stored(&self) -> Option<String> {
        match self {
            KeyGrant::ByRole => None,
            KeyGrant::Unreadable => Some(String::new()),
            KeyGrant::Explicit { capabilities, unknown } => {
                let known = capabilities.iter().map(|capability| capability.as_str());
                let slugs: Vec<&str> = known.chain(unknown.iter().map(String::as_str)).collect();
                Some(serde_json::Value::from(slugs).to_string())
            }
        }
    }
}

/// What a key or a person may do, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What.
    pub capabilities: BTreeSet<Capability>,
    /// Where.
    pub scope: ScopeSpec,
}

impl Grant {
    /// Of a key; `None` when its role or its grant cannot be read.
    pub fn of_key(role: Option<Role>, grant: &KeyGrant, scope: &ScopeSpec, enforced: bool) -> Option<Self> {
        let role = role?;
        let capabilities = match grant {
            KeyGrant::ByRole => role.capabilities(enforced),
            KeyGrant::Explicit { capabilities, .. } => capabilities.clone(),
            KeyGrant::Unreadable => return None,
        };
        Some(Grant { capabilities, scope: scope.clone() })
    }

    /// Of a person; `None` when the role cannot be read.
    pub fn of_person(role: Option<Role>, scope: &ScopeSpec) -> Option<Self> {
        Some(Grant { capabilities: role?.capabilities(false), scope: scope.clone() })
    }

    /// Whether it may be used at all: nobody administers some cameras only.
    ///
    /// # Errors
    /// [`GrantError::LimitedAdmin`].
    pub fn check(&self) -> Result<(), GrantError> {
        let limited_admin = self.scope.limited && self.capabilities.contains(&Capability::Admin);
        if limited_admin { Err(GrantError::LimitedAdmin) } else { Ok(()) }
    }

    /// Checks the grant of a key that is about to be written.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn check_key(&self, written: &KeyGrant, confirmed: bool) -> Result<(), GrantError> {
        if self.scope.limited && *written == KeyGrant::ByRole {
            return Err(GrantError::LimitedByRole);
        }
        self.check()?;
        let privileged: Vec<Capability> =
            PRIVILEGED.into_iter().filter(|capability| self.capabilities.contains(capability)).collect();
        if privileged.is_empty() || confirmed { Ok(()) } else { Err(GrantError::Unconfirmed(privileged)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn limited() -> ScopeSpec {
        ScopeSpec { limited: true, cameras: texts(&["a"]), sites: Vec::new() }
    }

    #[test]
    fn lists_of_capabilities() {
        assert_eq!(KeyGrant::written(&[]), Err(GrantError::Empty));
        assert_eq!(KeyGrant::written(&texts(&["video:live", "x"])), Err(GrantError::Unknown(1)));
        assert!(GrantError::Unknown(1).to_string().contains("module:proxy"));
        let grant = KeyGrant::written(&texts(&["video:live", "camera:read", "video:live"])).unwrap();
        assert_eq!(grant.to_stored().as_deref(), Some(r#"["camera:read","video:live"]"#));
        assert_eq!(KeyGrant::stored(grant.to_stored().as_deref()), grant);
        assert_eq!(KeyGrant::stored(None), KeyGrant::ByRole);
        for text in ["", "{}", "[1]", "null"] {
            assert_eq!(KeyGrant::stored(Some(text)), KeyGrant::Unreadable, "{text}");
        }
        let KeyGrant::Explicit { capabilities, unknown } = KeyGrant::stored(Some(r#"["fly","camera:read"]"#))
        else {
            panic!()
        };
        assert_eq!((capabilities.len(), unknown), (1, texts(&["fly"])));
    }

    #[test]
    fn privileges_are_confirmed_whatever_way_they_come() {
        use Capability::*;
        let key = |role, grant: &KeyGrant, scope: &ScopeSpec, confirmed| {
            Grant::of_key(Some(role), grant, scope, false).unwrap().check_key(grant, confirmed)
        };
        let (everywhere, only) = (ScopeSpec::default(), limited());
        let by_role = KeyGrant::ByRole;
        assert_eq!(key(Role::Viewer, &by_role, &everywhere, false), Ok(()));
        assert_eq!(
            key(Role::Manager, &by_role, &everywhere, false),
            Err(GrantError::Unconfirmed(vec![RegistryManage, GateOperate]))
        );
        assert_eq!(key(Role::Manager, &by_role, &everywhere, true), Ok(()));
        assert_eq!(
            key(Role::Guard, &by_role, &everywhere, false),
            Err(GrantError::Unconfirmed(vec![GateOperate]))
        );
        assert_eq!(key(Role::Viewer, &by_role, &only, true), Err(GrantError::LimitedByRole));
        let explicit = |slugs: &[&str]| KeyGrant::written(&texts(slugs)).unwrap();
        assert_eq!(key(Role::Viewer, &explicit(&["admin"]), &only, true), Err(GrantError::LimitedAdmin));
        let unconfirmed = Err(GrantError::Unconfirmed(vec![RegistryManage]));
        assert_eq!(key(Role::Viewer, &explicit(&["registry:manage"]), &only, false), unconfirmed);
        assert_eq!(
            key(Role::Admin, &explicit(&["camera:read"]), &only, false),
            Ok(()),
            "an explicit grant is all"
        );
    }

    #[test]
    fn what_cannot_be_read_grants_nothing() {
        let scope = ScopeSpec::default();
        assert_eq!(Grant::of_key(None, &KeyGrant::ByRole, &scope, false), None);
        assert_eq!(Grant::of_key(Some(Role::Admin), &KeyGrant::Unreadable, &scope, false), None);
        assert_eq!(Grant::of_person(None, &scope), None);
    }
}
