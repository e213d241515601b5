//! The OpenAPI 3.1 document, made from the route table and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Info, OpenApi, OpenApiBuilder, Paths, Ref, Required, SecurityRequirement,
};
use utoipa::{PartialSchema, ToSchema};

use crate::Code;
use crate::access::{Access, Need, ScopeRule};
use crate::doc::{self, Doc};
use crate::error::ErrorBody;

/// One operation as the table knows it.
pub(crate) struct OperationSource<'a> {
    pub(crate) method: HttpMethod,
    pub(crate) path: &'a str,
    pub(crate) access: Access,
    pub(crate) doc: &'a Doc,
}

/// Makes the document. An operation id that is used twice, a component name with two meanings and a reference to no
/// component are defects of the table, each named in the result.
pub(crate) fn document(
    title: &str,
    version: &str,
    operations: &[OperationSource<'_>],
) -> (OpenApi, Vec<String>) {
    let mut defects = Vec::new();
    let mut paths = Paths::new();
    let mut ids = BTreeSet::new();
    let mut schemas = BTreeMap::from([(ErrorBody::name().into_owned(), ErrorBody::schema())]);
    for source in operations {
        if !ids.insert(source.doc.id) {
            defects.push(format!("the operation id {} is used twice", source.doc.id));
        }
        for (name, schema) in &source.doc.schemas {
            let known = schemas.entry(name.clone()).or_insert_with(|| schema.clone());
            if known != schema {
                defects.push(format!("the schema name {name} stands for two schemas"));
            }
        }
        paths.add_path_operation(template(source.path), vec![source.method.clone()], operation(source));
    }
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme("bearer", bearer())
        .security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key"))))
        .security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("heldar_session"))))
        .build();
    let api = OpenApiBuilder::new()
        .info(Info::new(title, version))
        .paths(paths)
        .components(Some(components))
        .build();
    match serde_json::to_value(&api) {
        Ok(value) => dangling(&value, &value, &mut defects),
        Err(error) => defects.push(error.to_string()),
    }
    (api, defects)
}

fn bearer() -> SecurityScheme {
    SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build())
}

/// OpenAPI knows no wildcard: `{*rest}` becomes `{rest}`.
fn template(path: &str) -> String {
    path.replace("{*", "{")
}

/// The parameters of a path, in order, and whether each takes the rest of the path.
pub(crate) fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|tail| tail.split('}').next()).map(|name| name.trim_start_matches('*'))
}

fn operation(source: &OperationSource<'_>) -> Operation {
    let doc = source.doc;
    let mut operation = OperationBuilder::new()
        .operation_id(Some(doc.id))
        .tag(doc.tag)
        .summary(Some(doc.summary))
        .description(doc.details)
        .request_body(doc.body.clone())
        .securities(Some(security(source.access)))
        .extensions(Some(access_extension(source.access)));
    for name in path_parameters(source.path) {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(doc::string()));
        operation = operation.parameter(parameter.build());
    }
    for parameter in &doc.query {
        operation = operation.parameter(parameter.clone());
    }
    for (status, response) in &doc.answers {
        operation = operation.response(status.to_string(), response.clone());
    }
    for (status, codes) in failures(source) {
        operation = operation.response(status.to_string(), error_response(&codes));
    }
    operation.response("default", error_response(&[])).build()
}

/// The errors that a route can answer, by status.
fn failures(source: &OperationSource<'_>) -> BTreeMap<u16, Vec<Code>> {
    let doc = source.doc;
    let mut codes: BTreeSet<Code> = doc.failures.iter().copied().collect();
    if source.access.need != Need::Public {
        codes.extend([Code::Unauthenticated, Code::Forbidden]);
    }
    if path_parameters(source.path).next().is_some() {
        codes.extend([Code::Validation, Code::NotFound]);
    }
    if !doc.query.is_empty() {
        codes.insert(Code::BadQuery);
    }
    if let Some(body) = &doc.body {
        codes.extend([Code::Validation, Code::TooLarge, Code::UnsupportedMediaType]);
        if body.content.contains_key("application/json") {
            codes.extend([Code::InvalidJson, Code::InvalidBody]);
        }
    }
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status().as_u16()).or_default().push(code);
    }
    // What a route documents as its own answer stands.
    for (status, _) in &doc.answers {
        by_status.remove(status);
    }
    by_status
}

fn error_response(codes: &[Code]) -> Response {
    let slugs: Vec<String> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
    let description = if slugs.is_empty() { "Any other failure.".to_owned() } else { slugs.join(", ") };
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}

/// Any one of the three places for a credential; none at all for a public route.
fn security(access: Access) -> Vec<SecurityRequirement> {
    if access.need == Need::Public {
        return Vec::new();
    }
    ["bearer", "api_key", "cookie"].map(|name| SecurityRequirement::new(name, [] as [&str; 0])).to_vec()
}

fn access_extension(access: Access) -> utoipa::openapi::extensions::Extensions {
    let mut rule = json!({ "need": access.need.to_string(), "scope": access.scope.as_str() });
    if let ScopeRule::Cam(parameter) | ScopeRule::Live(parameter) = access.scope {
        rule["camera"] = json!(parameter);
    }
    ExtensionsBuilder::new().add("x-heldar-access", rule).build()
}

/// Names every reference inside `value` that points at nothing in `root`.
fn dangling(root: &Value, value: &Value, defects: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get("$ref")
                && target.strip_prefix('#').is_none_or(|pointer| root.pointer(pointer).is_none())
            {
                defects.push(format!("{target} refers to no component"));
            }
            fields.values().for_each(|field| dangling(root, field, defects));
        }
        Value::Array(items) => items.iter().for_each(|item| dangling(root, item, defects)),
        _ => {}
    }
}
