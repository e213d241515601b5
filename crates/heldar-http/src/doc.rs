//! What a route says about itself in the API description.

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Required, Schema, Type};
use utoipa::{IntoParams, ToSchema};

use crate::{Code, TextType};

/// The documentation of one operation. Path parameters, the access rule, its security and the errors that follow from
/// them are added by the route table.
pub struct Doc {
    pub(crate) id: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) details: Option<&'static str>,
    pub(crate) query: Vec<Parameter>,
    pub(crate) body: Option<RequestBody>,
    pub(crate) answers: Vec<(u16, Response)>,
    pub(crate) failures: Vec<Code>,
    pub(crate) schemas: Vec<(String, RefOr<Schema>)>,
}

impl Doc {
    /// An operation with an id that no other has, a tag to be grouped under, and one line on what it does.
    pub fn new(id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Doc {
            id,
            tag,
            summary,
            details: None,
            query: Vec::new(),
            body: None,
            answers: Vec::new(),
            failures: Vec::new(),
            schemas: Vec::new(),
        }
    }

    /// Says more, in Markdown.
    #[must_use]
    pub fn details(mut self, text: &'static str) -> Self {
        self.details = Some(text);
        self
    }

    /// Takes these query parameters. Those of a named type, [`crate::Limit`] and enums, need `#[param(inline)]`: utoipa
    /// would refer to a component that it does not hand out, and the table would not build.
    #[must_use]
    pub fn query<Q: IntoParams>(mut self) -> Self {
        let mut parameters = Q::into_params(|| Some(ParameterIn::Query));
        parameters.iter_mut().for_each(without_null);
        self.query.extend(parameters);
        self
    }

    /// Takes a JSON body.
    #[must_use]
    pub fn body<T: ToSchema>(mut self) -> Self {
        let schema = self.reference::<T>();
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let body = RequestBodyBuilder::new().required(Some(Required::True));
        self.body = Some(body.content("application/json", content).build());
        self
    }

    /// Takes a JSON body that may be left out.
    #[must_use]
    pub fn optional_body<T: ToSchema>(mut self) -> Self {
        let schema = self.reference::<T>();
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let body = RequestBodyBuilder::new().required(Some(Required::False));
        self.body = Some(body.content("application/json", content).build());
        self
    }

    /// Takes a body of text, such as a session description.
    #[must_use]
    pub fn text<T: TextType>(mut self) -> Self {
        let content = ContentBuilder::new().schema(Some(string())).build();
        let body = RequestBodyBuilder::new().required(Some(Required::True));
        self.body = Some(body.content(T::ESSENCE, content).build());
        self
    }

    /// Answers with these headers, each with what it says.
    #[must_use]
    pub fn headers(mut self, headers: &[(&str, &str)]) -> Self {
        if let Some((_, response)) = self.answers.last_mut() {
            for (name, text) in headers {
                let header = HeaderBuilder::new().schema(Some(string())).description(Some(*text)).build();
                response.headers.insert((*name).to_owned(), header.into());
            }
        }
        self
    }

    /// Answers a JSON object of this type.
    #[must_use]
    pub fn json<T: ToSchema>(mut self, status: u16, description: &'static str) -> Self {
        let schema = self.reference::<T>();
        self.answer(status, description, Some(("application/json", schema)))
    }

    /// Answers a JSON array of this type.
    #[must_use]
    pub fn list<T: ToSchema>(mut self, status: u16, description: &'static str) -> Self {
        let items = self.reference::<T>();
        let schema = utoipa::openapi::ArrayBuilder::new().items(items).build();
        self.answer(status, description, Some(("application/json", Schema::Array(schema).into())))
    }

    /// Answers one page of a list: as [`Doc::list`], with the headers that announce a further page.
    #[must_use]
    pub fn page<T: ToSchema>(self, description: &'static str) -> Self {
        self.list::<T>(200, description).announcing_next()
    }

    /// Answers an object that holds one page of a list, with the headers that announce a further page.
    #[must_use]
    pub fn page_in<T: ToSchema>(self, description: &'static str) -> Self {
        self.json::<T>(200, description).announcing_next()
    }

    fn announcing_next(self) -> Self {
        self.headers(&[
            ("Link", "`<URL>; rel=\"next\"` when there is a further page (RFC 8288)."),
            ("X-Next-Cursor", "The cursor of the further page."),
        ])
    }

    /// Answers bytes of this content type; one of several when the status has been described already.
    #[must_use]
    pub fn content(self, status: u16, content_type: &'static str, description: &'static str) -> Self {
        let goes_on = self.answers.last().is_some_and(|(last, _)| *last == status);
        let mut doc = if goes_on { self } else { self.answer(status, description, None) };
        if let Some((_, response)) = doc.answers.last_mut() {
            // OpenAPI 3.1: raw bytes are content without a schema.
            response.content.insert(content_type.to_owned(), ContentBuilder::new().build().into());
        }
        doc
    }

    /// Answers without a body.
    #[must_use]
    pub fn empty(self, status: u16, description: &'static str) -> Self {
        self.answer(status, description, None)
    }

    /// Names errors beyond those that follow from the access rule, the path, the query and the body.
    #[must_use]
    pub fn fails(mut self, codes: &[Code]) -> Self {
        self.failures.extend_from_slice(codes);
        self
    }

    fn answer(
        mut self,
        status: u16,
        description: &'static str,
        content: Option<(&'static str, RefOr<Schema>)>,
    ) -> Self {
        let mut response = ResponseBuilder::new().description(description);
        if let Some((content_type, schema)) = content {
            let content = ContentBuilder::new().schema(Some(schema)).build();
            response = response.content(content_type, content);
        }
        self.answers.push((status, response.build()));
        self
    }

    /// Puts the schema and those it refers to among the components.
    fn reference<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let name = T::name();
        self.schemas.push((name.clone().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        RefOr::Ref(Ref::from_schema_name(name))
    }
}

/// The schema of a plain text.
pub(crate) fn string() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).into()
}

/// utoipa calls an optional parameter nullable, but a query cannot say `null`.
fn without_null(parameter: &mut Parameter) {
    if let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema
        && let SchemaType::Array(types) = &mut object.schema_type
    {
        types.retain(|one| *one != Type::Null);
        if let [only] = types.as_slice() {
            object.schema_type = SchemaType::Type(only.clone());
        }
    }
}
