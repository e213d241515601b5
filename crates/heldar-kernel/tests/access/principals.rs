//! Everybody who may ask for something.

use std::collections::BTreeSet;

use heldar_base::{Capability, Micros, Role};
use serde_json::{Value, json};

use crate::house::{Call, House};

/// What a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nobody,
    Person,
    Machine,
    /// It shows something that does not hold.
    Ended,
}

/// A caller, and what it may do.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) token: String,
    pub(crate) capabilities: BTreeSet<Capability>,
    /// The one camera that it is limited to.
    pub(crate) only: Option<&'static str>,
    /// Each comes from an address of its own.
    pub(crate) address: String,
}

impl Who {
    pub(crate) fn shows<'a>(&self, call: Call<'a>) -> Call<'a> {
        let call = call.from(&self.address);
        match self.kind {
            Kind::Nobody => call,
            Kind::Machine => call.key(&self.token),
            Kind::Person | Kind::Ended => call.token(&self.token),
        }
    }

    pub(crate) fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability) || self.capabilities.contains(&Capability::Admin)
    }
}

fn all_but(capabilities: &[Capability]) -> Vec<Capability> {
    Capability::ALL.iter().copied().filter(|capability| !capabilities.contains(capability)).collect()
}

async fn machine(house: &House, name: &str, capabilities: &[Capability], fields: Value) -> Who {
    let mut body = json!({ "name": name, "capabilities": capabilities });
    crate::house::merge(&mut body, fields);
    let only = body["scope_cameras"][0].as_str().map(|_| "gate");
    let (_, token) = house.key(body).await;
    Who {
        name: name.to_owned(),
        kind: Kind::Machine,
        token,
        capabilities: capabilities.iter().copied().collect(),
        only,
        address: String::new(),
    }
}

async fn person(house: &House, name: &str, role: Role, fields: Value, only: Option<&'static str>) -> Who {
    let mut body = json!({ "role": role });
    crate::house::merge(&mut body, fields);
    let (_, token) = house.signed_in(name, body).await;
    let (name, capabilities) = (name.to_owned(), role.capabilities(false));
    Who { name, kind: Kind::Person, token, capabilities, only, address: String::new() }
}

/// Everybody: nobody, each role, each single capability and all but it, those that are limited, and what has ended.
pub(crate) async fn everybody(house: &House) -> Vec<Who> {
    let mut all = Vec::new();
    let ended = |name: &str, token: String| Who {
        name: name.to_owned(),
        kind: Kind::Ended,
        token,
        capabilities: BTreeSet::new(),
        only: None,
        address: String::new(),
    };
    all.push(Who { kind: Kind::Nobody, ..ended("nobody", String::new()) });
    for role in Role::ALL {
        all.push(person(house, role.as_str(), *role, json!({}), None).await);
    }
    for capability in Capability::ALL {
        let name = format!("key with {capability}");
        all.push(machine(house, &name, &[*capability], json!({})).await);
        let name = format!("key with all but {capability}");
        all.push(machine(house, &name, &all_but(&[*capability, Capability::Admin]), json!({})).await);
    }
    let limited = json!({ "scope_kind": "cameras", "scope_cameras": ["gate"] });
    all.push(machine(house, "key of gate", &all_but(&[Capability::Admin]), limited.clone()).await);
    all.push(person(house, "manager of gate", Role::Manager, limited, Some("gate")).await);
    let limited = json!({ "scope_kind": "cameras", "scope_sites": ["south"] });
    all.push(person(house, "manager of south", Role::Manager, limited.clone(), Some("yard")).await);
    all.push(person(house, "viewer of south", Role::Viewer, limited, Some("yard")).await);

    let expired = json!({ "expires_at": house.now() - Micros::from_secs(1) });
    all.push(ended("expired key", machine(house, "expired", Capability::ALL, expired).await.token));
    let all_rights = json!({ "capabilities": Capability::ALL });
    for (name, change) in [
        ("revoked key", json!({ "revoked_at": house.now() })),
        ("key that will be revoked is", json!({ "revoked_at": house.now() + Micros::from_hours(1) })),
        ("inactive key", json!({ "active": false })),
    ] {
        let (id, token) = house.key(all_rights.clone()).await;
        house.patch(&format!("/api/v1/api-keys/{id}"), change).token(&house.admin).ok().await;
        all.push(ended(name, token));
    }
    let (id, token) = house.key(all_rights).await;
    house.delete(&format!("/api/v1/api-keys/{id}")).token(&house.admin).ok().await;
    all.push(ended("deleted key", token));
    let (_, token) = house.signed_in("signed out", json!({ "role": "admin" })).await;
    house.call(axum::http::Method::POST, "/api/v1/auth/logout").token(&token).ok().await;
    all.push(ended("ended session", token));
    let (id, token) = house.signed_in("inactive", json!({ "role": "admin" })).await;
    house.patch(&format!("/api/v1/users/{id}"), json!({ "active": false })).token(&house.admin).ok().await;
    all.push(ended("session of an inactive person", token));
    all.push(ended("nonsense", "vos_nonsense".to_owned()));
    for (n, who) in all.iter_mut().enumerate() {
        who.address = format!("10.1.0.{}", n + 1);
    }
    all
}
