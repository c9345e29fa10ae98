//! How each of Qlik's services says no (fact sheet, section 4.1).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

/// A refused request, before it is put in the words of a service. One word large, since most requests are not.
#[derive(Clone, Debug)]
pub(super) struct Refusal(Box<Words>);

#[derive(Clone, Debug)]
struct Words {
    status: StatusCode,
    code: String,
    title: String,
    detail: Option<String>,
    meta: Option<Value>,
    pointer: Option<String>,
    parameter: Option<String>,
}

impl Refusal {
    /// A refusal with the service's own code.
    pub(super) fn new(status: StatusCode, code: &str, title: &str) -> Self {
        Self(Box::new(Words {
            status,
            code: code.to_owned(),
            title: title.to_owned(),
            detail: None,
            meta: None,
            pointer: None,
            parameter: None,
        }))
    }

    /// 400 without a known code of the service.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "HTTP-400", "Bad request").detail(detail)
    }

    /// 401: no token, or one that is not good here.
    pub(super) fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "HTTP-401", "Unauthorized").detail(detail)
    }

    /// 403 without a known code of the service.
    pub(super) fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "HTTP-403", "Forbidden").detail(detail)
    }

    /// 404 with the code the service has for it.
    pub(super) fn not_found(code: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, "Not found")
    }

    /// 409 with the code the service has for it.
    pub(super) fn conflict(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, "Conflict").detail(detail)
    }

    /// More words.
    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// The service's extra data.
    pub(super) fn meta(mut self, meta: Value) -> Self {
        self.0.meta = Some(meta);
        self
    }

    /// The JSON pointer to what is wrong in the body.
    pub(super) fn pointer(mut self, pointer: impl Into<String>) -> Self {
        self.0.pointer = Some(pointer.into());
        self
    }

    /// The query parameter that is wrong.
    pub(super) fn parameter(mut self, parameter: impl Into<String>) -> Self {
        self.0.parameter = Some(parameter.into());
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The whole answer, for a request that nobody has worked on: its trace leads nowhere.
    pub(super) fn response(&self, shape: Shape) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.body(shape, &"0".repeat(32)).to_string()));
        *response.status_mut() = self.0.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    /// The body in which a service says this.
    pub(super) fn body(&self, shape: Shape, trace: &str) -> Value {
        let error = Value::Object(self.error(shape));
        match shape {
            Shape::Plain | Shape::Explained => json!({"errors": [error]}),
            Shape::Traced | Shape::Numbered | Shape::Worded | Shape::Coded => {
                json!({"errors": [error], "traceId": trace})
            }
            Shape::Doubled => {
                let mut body = self.error(shape);
                body.insert("errors".to_owned(), json!([error]));
                body.insert("traceId".to_owned(), json!(trace));
                Value::Object(body)
            }
            Shape::Licence => {
                let message = self.0.detail.as_deref().unwrap_or(&self.0.title);
                json!({"error": "util.Error", "message": message, "errors": [error]})
            }
            Shape::Single => {
                let mut body = self.error(shape);
                body.insert("traceId".to_owned(), json!(trace));
                Value::Object(body)
            }
        }
    }

    fn error(&self, shape: Shape) -> Map<String, Value> {
        let mut error = Map::new();
        let code = match shape {
            Shape::Coded => json!(self.0.status.as_u16()),
            _ => json!(self.0.code),
        };
        error.insert("code".to_owned(), code);
        error.insert("title".to_owned(), json!(self.0.title));
        if let Some(detail) = &self.0.detail {
            error.insert("detail".to_owned(), json!(detail));
        }
        if let Some(meta) = &self.0.meta {
            error.insert("meta".to_owned(), meta.clone());
        } else if shape == Shape::Explained {
            let fault = self.0.status.is_server_error();
            let meta = json!({"fault": fault, "temporary": fault, "timeout": false, "explain": self.0.detail});
            error.insert("meta".to_owned(), meta);
        }
        let mut source = Map::new();
        if let Some(pointer) = &self.0.pointer {
            source.insert("pointer".to_owned(), json!(pointer));
        }
        if let Some(parameter) = &self.0.parameter {
            source.insert("parameter".to_owned(), json!(parameter));
        }
        if !source.is_empty() {
            error.insert("source".to_owned(), Value::Object(source));
        }
        match shape {
            Shape::Worded => {
                error.insert("status".to_owned(), json!(self.0.status.as_str()));
            }
            Shape::Numbered | Shape::Single => {
                error.insert("status".to_owned(), json!(self.0.status.as_u16()));
            }
            _ => {}
        }
        error
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.0.detail.as_deref().unwrap_or(&self.0.title))
    }
}

/// The forms in which Qlik's services write errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `{"errors":[{code,title,detail}]}`
    Plain,
    /// The same with `traceId`.
    Traced,
    /// The same with `traceId` and `status` as a number in each error.
    Numbered,
    /// The same with `traceId` and `status` as text in each error.
    Worded,
    /// The same with `traceId` and a number for the code.
    Coded,
    /// The error at the top level and again in `errors`.
    Doubled,
    /// `{"error":"util.Error","message","errors":[..]}`
    Licence,
    /// `meta` with fault, temporary, timeout and explain in each error.
    Explained,
    /// One error, not a list.
    Single,
}

impl Shape {
    /// How the service behind a path writes errors.
    pub(super) fn of(path: &str) -> Self {
        let mut segments = path.split('/').skip(1);
        let (first, second, third) = (segments.next(), segments.next(), segments.next());
        match (first, second, third) {
            (Some("oauth" | "login"), ..) => Self::Worded,
            (Some("api"), Some("scheduling"), _) => Self::Coded,
            (Some("api"), Some("v1"), Some(service)) => match service {
                "tenants" | "web-integrations" => Self::Worded,
                "users" | "groups" | "roles" => Self::Numbered,
                "spaces" => Self::Doubled,
                "licenses" => Self::Licence,
                "items" | "collections" => Self::Explained,
                "extensions" | "themes" => Self::Single,
                "csp-origins" | "quotas" | "apps" | "identity-providers" => Self::Plain,
                "tasks" => Self::Coded,
                _ => Self::Traced,
            },
            _ => Self::Traced,
        }
    }
}
