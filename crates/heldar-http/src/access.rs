//! The rule that every route carries, and the one decision made from it.
//!
//! A rule says which capability a route needs and how it treats principals that are limited to cameras (auth-system.md 10.2).
//! What a rule says is decided here, before the handler; what needs a row (`Res`, `Filter`, `Body`, `Sub`) is decided by the
//! store, which takes the scope with every read.

use std::fmt;

use heldar_base::{CameraId, Capability, Principal};

use crate::ApiError;

/// Who may come in at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Everyone, without a credential. No principal is resolved.
    Public,
    /// Every principal.
    AnyPrincipal,
    /// A principal with this capability.
    Capability(Capability),
    /// A principal with one of two: the first without bounds, the other within those that the handler draws.
    Either(Capability, Capability),
}

/// How a route treats a principal that is limited to cameras.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeRule {
    /// The route shows nothing that belongs to a camera or to the whole box.
    None,
    /// The path parameter of this name is a camera, decided before anyone looks whether it exists.
    Cam(&'static str),
    /// The path parameter of this name is the name of a camera's live view, `cam_<camera>[.main|.sub]`, decided as a camera.
    Live(&'static str),
    /// The path names a resource whose camera the store knows; foreign and missing look the same.
    Res,
    /// A list of the rows of its cameras.
    Filter,
    /// The body names the cameras.
    Body,
    /// The stored list of cameras must lie inside the scope.
    Sub,
    /// The whole box: closed to limited principals.
    Fleet,
}

/// The access rule of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who may come in.
    pub need: Need,
    /// How the camera scope counts.
    pub scope: ScopeRule,
    /// Whether a camera id that looks like a path is an error of its own.
    pub refuses_paths: bool,
}

impl Access {
    /// The same rule, and 400 for a camera id with `/`, `\\` or `..`, which can name no camera.
    pub const fn refusing_paths(self) -> Self {
        Access { refuses_paths: true, ..self }
    }

    /// Open to everyone.
    pub const fn public() -> Self {
        Access { need: Need::Public, scope: ScopeRule::None, refuses_paths: false }
    }

    /// Open to every principal.
    pub const fn any_principal(scope: ScopeRule) -> Self {
        Access { need: Need::AnyPrincipal, scope, refuses_paths: false }
    }

    /// Needs a capability; the route has nothing to do with cameras.
    pub const fn unscoped(capability: Capability) -> Self {
        Access { need: Need::Capability(capability), scope: ScopeRule::None, refuses_paths: false }
    }

    /// Needs a capability on the camera that the path parameter `{id}` names.
    pub const fn cam(capability: Capability) -> Self {
        Access::cam_in("id", capability)
    }

    /// Needs a capability on the camera that the path parameter of this name names.
    pub const fn cam_in(parameter: &'static str, capability: Capability) -> Self {
        Access { need: Need::Capability(capability), scope: ScopeRule::Cam(parameter), refuses_paths: false }
    }

    /// Needs one of two capabilities on the camera that the path parameter `{id}` names; what the second is good for, the
    /// handler decides.
    pub const fn cam_either(full: Capability, bounded: Capability) -> Self {
        Access { need: Need::Either(full, bounded), scope: ScopeRule::Cam("id"), refuses_paths: false }
    }

    /// Needs a capability on the camera whose live view the path parameter of this name names.
    pub const fn live_in(parameter: &'static str, capability: Capability) -> Self {
        Access { need: Need::Capability(capability), scope: ScopeRule::Live(parameter), refuses_paths: false }
    }

    /// Needs a capability; the path names a resource.
    pub const fn res(capability: Capability) -> Self {
        Access { need: Need::Capability(capability), scope: ScopeRule::Res, refuses_paths: false }
    }

    /// Needs a capability; a list of what is in scope.
    pub const fn filter(capability: Capability) -> Self {
        Access { need: Need::Capability(capability), scope: ScopeRule::Filter, refuses_paths: false }
    }

    /// Needs a capability; the body names cameras.
    pub const fn body(capability: Capability) -> Self {
        Access { need: Need::Capability(capability), scope: ScopeRule::Body, refuses_paths: false }
    }

    /// Needs a capability; a stored list of cameras must be in scope.
    pub const fn sub(capability: Capability) -> Self {
        Access { need: Need::Capability(capability), scope: ScopeRule::Sub, refuses_paths: false }
    }

    /// Needs a capability and a principal that is not limited to cameras.
    pub const fn fleet(capability: Capability) -> Self {
        Access { need: Need::Capability(capability), scope: ScopeRule::Fleet, refuses_paths: false }
    }
}

impl Need {
    /// The capability that is enough without bounds, where one is needed.
    pub const fn capability(self) -> Option<Capability> {
        match self {
            Need::Public | Need::AnyPrincipal => None,
            Need::Capability(capability) | Need::Either(capability, _) => Some(capability),
        }
    }

    /// Whether `may` do what is needed, as far as capabilities decide it.
    pub(crate) fn is_met(self, may: impl Fn(Capability) -> bool) -> bool {
        match self {
            Need::Public | Need::AnyPrincipal => true,
            Need::Capability(capability) => may(capability),
            Need::Either(full, bounded) => may(full) || may(bounded),
        }
    }
}

/// Its name in the access matrix: `public`, `any`, or what is needed.
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Public => f.write_str("public"),
            Need::AnyPrincipal => f.write_str("any"),
            Need::Capability(capability) => f.write_str(capability.as_str()),
            Need::Either(full, bounded) => write!(f, "{}|{}", full.as_str(), bounded.as_str()),
        }
    }
}

impl ScopeRule {
    /// Its name in the access matrix.
    pub const fn as_str(self) -> &'static str {
        match self {
            ScopeRule::None => "none",
            ScopeRule::Cam(_) | ScopeRule::Live(_) => "cam",
            ScopeRule::Res => "res",
            ScopeRule::Filter => "filter",
            ScopeRule::Body => "body",
            ScopeRule::Sub => "sub",
            ScopeRule::Fleet => "fleet",
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.need, self.scope.as_str())
    }
}

/// The camera in the name of a live view.
fn camera_of_live(name: &str) -> Option<&str> {
    let name = name.strip_prefix("cam_")?;
    // Ids of cameras hold no point.
    Some(name.split_once('.').map_or(name, |(camera, _)| camera))
}

/// Decides what can be decided without a row. `named` is the text of the path parameter of a [`ScopeRule::Cam`] or
/// [`ScopeRule::Live`] rule; the camera it names comes back, authorised.
///
/// # Errors
/// 403 `missing_capability`, `fleet_only` or `out_of_scope`; 404 where an unlimited principal names what can be no camera.
pub(crate) fn decide(
    access: &Access,
    principal: &Principal,
    named: Option<&str>,
) -> Result<Option<CameraId>, ApiError> {
    if let Some(capability) = access.need.capability()
        && !access.need.is_met(|capability| principal.can(capability))
    {
        return Err(ApiError::missing_capability(capability));
    }
    match access.scope {
        ScopeRule::Fleet if !principal.scope.is_all() => Err(ApiError::fleet_only()),
        ScopeRule::Cam(_) | ScopeRule::Live(_) => {
            let camera = match access.scope {
                ScopeRule::Live(_) => named.and_then(camera_of_live),
                _ => named,
            };
            let id = camera.and_then(|text| CameraId::new(text).ok());
            match id {
                Some(id) => principal.scope.check(&id).map(|()| Some(id)).map_err(ApiError::from),
                None if principal.scope.is_all() && access.refuses_paths && camera.is_some_and(is_path) => {
                    Err(ApiError::validation("id", "a camera id holds no `/`, `\\` or `..`"))
                }
                None if principal.scope.is_all() => Err(ApiError::not_found("camera")),
                None => Err(ApiError::out_of_scope()),
            }
        }
        _ => Ok(None),
    }
}

/// Whether a text could be meant to lead somewhere else.
fn is_path(text: &str) -> bool {
    text.contains(['/', '\\']) || text.contains("..")
}

#[cfg(test)]
mod tests {
    use heldar_base::{PrincipalKind, Role, Scope};

    use super::*;

    fn principal(capabilities: &[Capability], cameras: Option<&[&str]>) -> Principal {
        Principal {
            kind: PrincipalKind::ApiKey,
            id: "key_1".to_owned(),
            name: "key".to_owned(),
            role: Role::Integration,
            capabilities: capabilities.iter().copied().collect(),
            scope: match cameras {
                None => Scope::All,
                Some(list) => Scope::Cameras(list.iter().map(|c| CameraId::new(c).unwrap()).collect()),
            },
            credential: heldar_base::Credential::Nothing,
        }
    }

    fn check(
        access: Access,
        principal: &Principal,
        camera: Option<&str>,
        expect: Result<Option<&str>, &str>,
    ) {
        let got = decide(&access, principal, camera);
        let got = match &got {
            Ok(camera) => Ok(camera.as_ref().map(CameraId::as_str)),
            Err(error) => Err(error.reason().map_or(error.code().as_str(), crate::Reason::as_str)),
        };
        assert_eq!(got, expect, "{access} {camera:?}");
    }

    #[test]
    fn decisions() {
        use Capability::{Admin, CameraRead, RegistryManage, SystemRead};
        let reader = principal(&[CameraRead], None);
        let limited = principal(&[CameraRead, SystemRead], Some(&["gate"]));
        let nowhere = principal(&[CameraRead], Some(&[]));
        let admin = principal(&[Admin], None);

        check(Access::any_principal(ScopeRule::None), &nowhere, None, Ok(None));
        check(Access::unscoped(RegistryManage), &reader, None, Err("missing_capability"));
        check(Access::unscoped(RegistryManage), &admin, None, Ok(None));
        check(Access::cam(CameraRead), &reader, Some("gate"), Ok(Some("gate")));
        check(Access::cam(CameraRead), &reader, Some("No Camera"), Err("not_found"));
        check(Access::cam(CameraRead), &limited, Some("gate"), Ok(Some("gate")));
        check(Access::cam(CameraRead), &limited, Some("yard"), Err("out_of_scope"));
        check(Access::cam(CameraRead), &limited, Some("No Camera"), Err("out_of_scope"));
        check(Access::cam(CameraRead), &nowhere, Some("gate"), Err("out_of_scope"));
        // The capability is asked first: a scope says nothing to those who may not do the thing anywhere.
        let live = Access::live_in("path", CameraRead);
        check(live, &reader, Some("cam_gate"), Ok(Some("gate")));
        check(live, &limited, Some("cam_gate.main"), Ok(Some("gate")));
        check(live, &limited, Some("cam_yard"), Err("out_of_scope"));
        check(live, &reader, Some("gate"), Err("not_found"));
        check(live, &limited, Some("gate"), Err("out_of_scope"));
        check(Access::cam(RegistryManage), &limited, Some("yard"), Err("missing_capability"));
        check(Access::fleet(SystemRead), &limited, None, Err("fleet_only"));
        check(Access::fleet(SystemRead), &admin, None, Ok(None));
        check(Access::filter(CameraRead), &nowhere, None, Ok(None));
        check(Access::res(CameraRead), &limited, None, Ok(None));
        let either = |full, bounded| Access::cam_either(full, bounded);
        check(either(RegistryManage, CameraRead), &limited, Some("gate"), Ok(Some("gate")));
        check(either(CameraRead, RegistryManage), &limited, Some("gate"), Ok(Some("gate")));
        check(either(RegistryManage, CameraRead), &limited, Some("yard"), Err("out_of_scope"));
        check(either(RegistryManage, SystemRead), &reader, Some("gate"), Err("missing_capability"));
        assert_eq!(either(RegistryManage, CameraRead).to_string(), "registry:manage|camera:read cam");
    }
}
