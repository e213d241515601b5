//! HTTP foundation: the route table with its access rules, errors, extractors, metrics, the server loop, byte ranges.
//!
//! Owns: how a request becomes a handler's call and how its result becomes an answer (auth-system.md 4 to 7). A route
//! without an explicit access rule does not exist (DESIGN, invariant 5): [`RouteTable::add`] is the only way to a
//! handler. Never: a route of the product, SQL, a session, a key, the configuration; those come in as values and as the
//! traits [`Resolver`], [`Edge`], [`Pages`] and [`ByteSource`].
#![forbid(unsafe_code)]

mod access;
mod app;
mod caller;
mod code;
mod conditional;
mod doc;
mod error;
mod exchange;
mod extract;
mod guard;
mod headers;
mod lifecycle;
pub mod metrics;
mod openapi;
mod page;
mod pages;
mod range;
mod ranged;
mod rest;
mod routes;
mod server;
mod sources;

pub use access::{Access, Need, ScopeRule};
pub use app::{API_ROOT, App, AppConfig, AppSlot, Ending};
pub use caller::{AuthorisedBy, Caller, Camera, Client, Denial, Edge, Reach, Resolver, Right, Scheme, Via};
pub use code::{Code, Reason};
pub use conditional::{ETag, Precondition, Validators, http_date, precondition, range_applies};
pub use doc::Doc;
pub use error::ApiError;
pub use exchange::RequestId;
pub use extract::{
    JSON_LIMIT_BYTES, Json, JsonOrNothing, JsonUpTo, Limit, Patch, Path, Query, Text, TextType,
};
pub use headers::Hsts;
pub use lifecycle::{Lifecycle, Phase};
pub use page::{List, Page};
pub use pages::{Freshness, Pages, StaticFile};
pub use range::{ByteRange, RangeOutcome, range};
pub use ranged::{ByteSource, CHUNK_BYTES, Length, Ranged};
pub use routes::{BuildError, RouteTable, TableError};
pub use server::{BindError, Limits, Listeners, redirect, serve};
